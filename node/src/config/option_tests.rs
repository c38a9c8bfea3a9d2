//! `option-def` and `option-data`: what is refused, what bytes come of it, and that `config-get` shows
//! what can be read again.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::tests::run_script;
use super::*;
use crate::options::{self, Definitions, Type};
use crate::types::ClassSet;

fn config(text: &str) -> Config {
    from_text(text).unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}")).config
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first value of an option of the global scope for a packet of these classes.
fn value(config: &Config, space: &str, code: u32, classes: &ClassSet) -> Option<String> {
    let entries = config.options.all_in(space, code);
    let data = entries.iter().find(|data| data.guard.admits(classes))?;
    Some(hex(&data.value(classes)))
}

fn plain(config: &Config, code: u32) -> String {
    value(config, options::DHCP4, code, &ClassSet::new()).expect("it is there")
}

#[test]
fn definitions_and_values_are_judged_as_the_script_says() {
    let long = "x".repeat(30_000);
    run_script(&include_str!("testscripts/options").replace("LONG", &long));
}

/// The bytes are those of Kea 2.2 and 3.0 for the same configuration.
#[test]
fn sub_options_come_from_the_scope_of_the_option_around_them() {
    let config = config(
        r#"{"Dhcp4": {
        "option-def": [
            {"name": "p", "code": 222, "type": "empty", "encapsulate": "sp"},
            {"name": "q", "code": 223, "type": "uint8", "encapsulate": "sp"},
            {"name": "s1", "code": 1, "space": "sp", "type": "uint8"},
            {"name": "s2", "code": 2, "space": "sp", "type": "uint8"},
            {"name": "s3", "code": 3, "space": "sp", "type": "uint8", "encapsulate": "deep"},
            {"name": "d1", "code": 1, "space": "deep", "type": "uint8"}],
        "option-data": [{"name": "s2", "space": "sp", "data": "2"}, {"name": "s1", "space": "sp", "data": "1"},
            {"name": "s3", "space": "sp", "data": "3"}, {"name": "d1", "space": "deep", "data": "4"},
            {"code": 222}, {"name": "q", "data": "7"}],
        "subnet4": [{"id": 1, "subnet": "192.0.2.0/24", "option-data": [
            {"name": "s1", "space": "sp", "data": "9"}, {"name": "q", "data": "8"}]}]}}"#,
    );
    assert_eq!(plain(&config, 222), "010101020102030403010104");
    assert_eq!(plain(&config, 223), "07010101020102030403010104");
    let of_subnet = &config.subnets[0].options;
    assert_eq!(hex(&of_subnet.get(223).unwrap().bytes), "08010109");
}

/// What comes behind each type is as Kea 3.0 sends it: strings and bytes reach to the end of theirs.
#[test]
fn every_type_is_followed_by_its_sub_options() {
    let cases = [
        (226, "fqdn", "a.b", "01610162000104676c6f62"),
        (227, "record", "1, x", "01780104676c6f62"),
        (228, "tuple", "tt", "0274740104676c6f62"),
        (229, "ipv4-address", "1.2.3.4", "010203040104676c6f62"),
        (230, "boolean", "1", "010104676c6f62"),
        (231, "ipv6-prefix", "2001:db8::/33", "2120010db8000104676c6f62"),
        (232, "string", "str", "737472"),
        (233, "binary", "0102", "0102"),
    ];
    let mut definitions = String::new();
    let mut data = String::new();
    for (code, kind, text, _) in cases {
        let fields = if kind == "record" { r#", "record-types": "uint8, string""# } else { "" };
        write!(definitions, r#", {{"name": "o{code}", "code": {code}, "type": "{kind}"{fields}, "encapsulate": "mx"}}"#).unwrap();
        write!(data, r#", {{"name": "o{code}", "data": "{text}"}}"#).unwrap();
    }
    let config = config(&format!(
        r#"{{"Dhcp4": {{
        "option-def": [{{"name": "one", "code": 1, "space": "mx", "type": "string"}}{definitions}],
        "option-data": [{{"name": "one", "space": "mx", "data": "glob"}}{data}]}}}}"#
    ));
    for (code, kind, _, expected) in cases {
        assert_eq!(plain(&config, code), expected, "{kind}");
    }
}

#[test]
fn what_stands_there_in_hexadecimal_is_kept_and_added_to() {
    let document = |data: &str| {
        format!(
            r#"{{"Dhcp4": {{"option-data": [
            {{"name": "vendor-encapsulated-options", "csv-format": false, "data": "{data}"}},
            {{"code": 1, "space": "vendor-encapsulated-options-space", "csv-format": false, "data": "aa"}},
            {{"code": 3, "space": "vendor-encapsulated-options-space", "csv-format": false, "data": "cc"}}]}}}}"#
        )
    };
    assert_eq!(plain(&config(&document("")), 43), "0101aa0301cc");
    assert_eq!(plain(&config(&document("0201bb")), 43), "0101aa0201bb0301cc");
    assert_eq!(plain(&config(&document("0301bb")), 43), "0101aa0301bb");
    // No sub-options: it stays as the operator wrote it.
    assert_eq!(plain(&config(&document("0301bbff")), 43), "0301bbff");
}

#[test]
fn sub_options_for_some_clients_are_chosen_for_each_packet() {
    let config = config(
        r#"{"Dhcp4": {
        "client-classes": [{"name": "A"}, {"name": "B"}],
        "option-def": [
            {"name": "p", "code": 222, "type": "empty", "encapsulate": "sp"},
            {"name": "s3", "code": 3, "space": "sp", "type": "uint8", "encapsulate": "deep"},
            {"name": "s1", "code": 1, "space": "sp", "type": "uint8"},
            {"name": "d1", "code": 1, "space": "deep", "type": "uint8"}],
        "option-data": [{"name": "p", "csv-format": false, "data": "020102"},
            {"name": "s1", "space": "sp", "data": "10", "client-classes": ["A"]},
            {"name": "s1", "space": "sp", "data": "11", "client-classes": ["B"]},
            {"name": "s3", "space": "sp", "data": "3"},
            {"name": "d1", "space": "deep", "data": "4", "client-classes": ["B"]},
            {"code": 9, "space": "sp", "csv-format": false, "data": "99", "never-send": true}]}}"#,
    );
    let of = |names: &[&str]| {
        let mut classes = ClassSet::new();
        names.iter().for_each(|name| assert!(classes.insert((*name).into())));
        value(&config, options::DHCP4, 222, &classes).unwrap()
    };
    assert_eq!(of(&[]), "020102030103");
    assert_eq!(of(&["A"]), "02010201010a030103");
    assert_eq!(of(&["B"]), "02010201010b030403010104");
    assert_eq!(of(&["A", "B"]), "02010201010b030403010104");
}

/// Of several entries Kea 3.0 takes the last that is for a class of the packet, else the first that is for
/// everybody.
#[test]
fn entries_for_classes_come_before_that_for_everybody() {
    for (order, of_none, of_a, of_both) in
        [("ab*", "*", "a", "b"), ("*ba", "*", "a", "a"), ("b*a+", "*", "a", "a")]
    {
        let entry = |c: char| match c {
            '*' | '+' => format!(r#"{{"name": "host-name", "data": "{c}"}}"#),
            c => format!(r#"{{"name": "host-name", "data": "{c}", "client-classes": ["{c}"]}}"#),
        };
        let entries: Vec<String> = order.chars().map(entry).collect();
        let config = config(&format!(
            r#"{{"Dhcp4": {{"client-classes": [{{"name": "a"}}, {{"name": "b"}}], "option-data": [{}]}}}}"#,
            entries.join(",")
        ));
        let of = |names: &[&str]| {
            let mut classes = ClassSet::new();
            names.iter().for_each(|name| assert!(classes.insert((*name).into())));
            value(&config, options::DHCP4, 12, &classes)
        };
        assert_eq!(of(&[]), Some(hex(of_none.as_bytes())), "{order}");
        assert_eq!(of(&["a"]), Some(hex(of_a.as_bytes())), "{order}");
        assert_eq!(of(&["a", "b"]), Some(hex(of_both.as_bytes())), "{order}");
    }
}

#[test]
fn spaces_in_a_circle_are_entered_once() {
    let config = config(
        r#"{"Dhcp4": {
        "option-def": [
            {"name": "p", "code": 222, "type": "empty", "encapsulate": "a"},
            {"name": "x", "code": 1, "space": "a", "type": "uint8", "encapsulate": "b"},
            {"name": "y", "code": 1, "space": "b", "type": "uint8", "encapsulate": "a"}],
        "option-data": [{"name": "p"}, {"name": "x", "space": "a", "data": "1"},
            {"name": "y", "space": "b", "data": "2"}]}}"#,
    );
    assert_eq!(plain(&config, 222), "010401010102");
}

#[test]
fn a_class_reads_its_options_with_its_own_definitions() {
    let config = config(
        r#"{"Dhcp4": {
        "option-def": [{"name": "x", "code": 224, "type": "string"},
            {"name": "c", "code": 1, "space": "of-class", "type": "uint8"}],
        "option-data": [{"name": "x", "data": "7"}],
        "client-classes": [{"name": "A",
            "option-def": [{"name": "y", "code": 224, "type": "uint8"},
                {"name": "own", "code": 43, "type": "empty", "encapsulate": "of-class"}],
            "option-data": [{"name": "y", "data": "7"}, {"name": "own"},
                {"name": "c", "space": "of-class", "data": "5"}]}]}}"#,
    );
    assert_eq!(plain(&config, 224), "37");
    let class = config.classes.get("A").unwrap();
    assert_eq!(hex(&class.options.get(224).unwrap().bytes), "07");
    assert_eq!(hex(&class.options.get(43).unwrap().bytes), "010105");
    assert_eq!(class.definitions.by_code(options::DHCP4, 224).unwrap().kind, Type::Uint8);
    assert_eq!(config.definitions.by_code(options::DHCP4, 224).unwrap().kind, Type::String);
    // What is shown is read with the same definitions again.
    let shown = config.to_json();
    assert_eq!(shown["client-classes"][0]["option-data"][1]["name"], "own");
    assert_eq!(shown["option-data"][0]["name"], "x");
}

/// As Kea 3.0 shows it.
#[test]
fn config_get_shows_options_and_definitions_in_keas_form() {
    let config = config(
        r#"{"Dhcp4": {
        "option-def": [{"name": "r", "code": 222, "type": "record", "record-types": " uint8 ,uint8,string"}],
        "option-data": [{"name": "r", "data": "1, 2,  x"}, {"code": 200, "csv-format": false, "data": "aB c1"},
            {"code": 2, "space": "vendor-4491", "data": "1.2.3.4", "client-classes": []}]}}"#,
    );
    let shown = config.to_json();
    assert_eq!(
        shown["option-def"].to_string(),
        r#"[{"array":false,"code":222,"encapsulate":"","name":"r","record-types":"uint8, uint8, string","space":"dhcp4","type":"record"}]"#
    );
    assert_eq!(
        shown["option-data"].to_string(),
        concat!(
            r#"[{"always-send":false,"code":222,"csv-format":true,"data":"1, 2,  x","name":"r","never-send":false,"space":"dhcp4"},"#,
            r#"{"always-send":false,"code":200,"csv-format":false,"data":"ABC1","never-send":false,"space":"dhcp4"},"#,
            r#"{"always-send":false,"code":2,"csv-format":true,"data":"1.2.3.4","name":"tftp-servers","never-send":false,"space":"vendor-4491"}]"#
        )
    );
}

/// A type by its name, and texts of it.
fn text_of(kind: &'static str) -> BoxedStrategy<String> {
    match kind {
        "boolean" => any::<bool>().prop_map(|flag| flag.to_string()).boxed(),
        "int8" => any::<i8>().prop_map(|number| number.to_string()).boxed(),
        "int16" => any::<i16>().prop_map(|number| number.to_string()).boxed(),
        "int32" => any::<i32>().prop_map(|number| number.to_string()).boxed(),
        "uint8" => any::<u8>().prop_map(|number| format!("0x{number:x}")).boxed(),
        "uint16" => any::<u16>().prop_map(|number| number.to_string()).boxed(),
        "uint32" => any::<u32>().prop_map(|number| number.to_string()).boxed(),
        "ipv4-address" => {
            any::<[u8; 4]>().prop_map(|a| std::net::Ipv4Addr::from(a).to_string()).boxed()
        }
        "ipv6-address" => {
            any::<[u8; 16]>().prop_map(|a| std::net::Ipv6Addr::from(a).to_string()).boxed()
        }
        "ipv6-prefix" => (any::<[u8; 16]>(), 0..=128u8)
            .prop_map(|(a, len)| format!("{}/{len}", std::net::Ipv6Addr::from(a)))
            .boxed(),
        "psid" => (1..=16u8)
            .prop_flat_map(|len| (0..1u32 << len, Just(len)))
            .prop_map(|(psid, len)| format!("{psid}/{len}"))
            .boxed(),
        "fqdn" => "[a-z]{1,9}(\\.[a-z0-9]{1,9}){0,3}\\.?".boxed(),
        "tuple" | "string" => {
            "[a-zA-Z0-9 é.:/-]{0,12}[a-z]".prop_map(|text| text.trim().to_owned()).boxed()
        }
        "binary" => prop::collection::vec(any::<u8>(), 1..9).prop_map(|bytes| hex(&bytes)).boxed(),
        _ => Just(String::new()).boxed(),
    }
}

const KINDS: [&str; 15] = [
    "boolean",
    "int8",
    "int16",
    "int32",
    "uint8",
    "uint16",
    "uint32",
    "ipv4-address",
    "ipv6-address",
    "ipv6-prefix",
    "psid",
    "fqdn",
    "tuple",
    "string",
    "binary",
];

fn is_greedy(kind: &str) -> bool {
    matches!(kind, "string" | "binary")
}

/// An `option-def` entry without name, code and space, and a text for its option.
fn definition() -> impl Strategy<Value = (String, String)> {
    let kind = || prop::sample::select(&KINDS[..]);
    let fixed = || prop::sample::select(&KINDS[..13]);
    let one = kind().prop_flat_map(|kind| {
        text_of(kind).prop_map(move |text| (format!(r#""type": "{kind}""#), text))
    });
    let many = fixed().prop_flat_map(|kind| {
        prop::collection::vec(text_of(kind), 1..5)
            .prop_map(move |texts| (format!(r#""type": "{kind}", "array": true"#), texts.join(",")))
    });
    let record = (prop::collection::vec(fixed(), 1..4), kind(), any::<bool>(), 0..3usize)
        .prop_flat_map(|(mut fields, last, array, more)| {
            fields.push(last);
            let array = array && !is_greedy(last);
            let repeats = if array { more } else { 0 };
            let texts: Vec<_> = fields
                .iter()
                .copied()
                .chain(std::iter::repeat_n(last, repeats))
                .map(text_of)
                .collect();
            texts.prop_map(move |texts| {
                (
                    format!(
                        r#""type": "record", "array": {array}, "record-types": "{}""#,
                        fields.join(", ")
                    ),
                    texts.join(" , "),
                )
            })
        });
    prop_oneof![one, many, record]
}

proptest! {
    /// Text → bytes → text → bytes, for definitions of an operator, in any space.
    #[test]
    fn values_of_an_operators_definitions_are_printed_and_read_again(
        (definition, text) in definition(),
        space in prop::sample::select(&["dhcp4", "foo", "vendor-77"][..]),
    ) {
        let document = |csv: bool, data: &str| format!(
            r#"{{"Dhcp4": {{"option-def": [{{"name": "x", "code": 224, "space": "{space}", {definition}}}],
                "option-data": [{{"name": "x", "space": "{space}", "csv-format": {csv}, "data": "{data}"}}]}}}}"#
        );
        let first = config(&document(true, &text));
        let data = &first.options.all_in(space, 224)[0];
        let of = first.definitions.by_code(space, 224).unwrap();
        let printed = options::decode(of, &data.bytes).unwrap();
        prop_assert_eq!(options::encode(of, &printed), Ok(data.bytes.to_vec()), "{}", printed);
        // The same in hexadecimal.
        let second = config(&document(false, &hex(&data.bytes)));
        prop_assert_eq!(&second.options, &first.options);
        for config in [&first, &second] {
            let shown = serde_json::json!({ "Dhcp4": config.to_json() });
            let again = from_json(&shown).unwrap().config;
            prop_assert_eq!(&again.options, &config.options);
            prop_assert_eq!(again.to_json(), config.to_json());
        }
    }

    /// Whatever stands in a definition, it is taken or refused with a place, and what is taken is shown
    /// so that it can be read again.
    #[test]
    fn no_definition_makes_it_panic(
        name in "[a-z_ -]{0,3}",
        code in 0..260i64,
        kind in prop::sample::select(&["record", "empty", "internal", "string", "uint8", "uint9", "fqdn", "binary"][..]),
        space in prop::sample::select(&["dhcp4", "foo", "b_", "vendor-1", "dhcp6", "dhcp-agent-options-space"][..]),
        array in any::<bool>(),
        types in prop::collection::vec(prop::sample::select(&["uint8", "string", "", "record", "x", "ipv4-address"][..]), 0..4),
        inner in prop::sample::select(&["", "foo", "a b", "dhcp4"][..]),
        data in "[0-9a-f,.' x]{0,8}",
        csv in any::<bool>(),
        is_of_class in any::<bool>(),
    ) {
        let types = types.join(",");
        let entries = format!(
            r#""option-def": [{{"name": "{name}", "code": {code}, "type": "{kind}", "space": "{space}", "array": {array},
                "record-types": "{types}", "encapsulate": "{inner}"}}],
               "option-data": [{{"code": {code}, "space": "{space}", "data": "{data}", "csv-format": {csv}}},
                {{"code": 1, "space": "foo", "csv-format": false, "data": "01"}}]"#
        );
        let document = if is_of_class {
            format!(r#"{{"Dhcp4": {{"client-classes": [{{"name": "A", {entries}}}]}}}}"#)
        } else {
            format!(r#"{{"Dhcp4": {{{entries}}}}}"#)
        };
        match from_text(&document) {
            Ok(parsed) => {
                let shown = serde_json::json!({ "Dhcp4": parsed.config.to_json() });
                let again = from_json(&shown).unwrap_or_else(|mistakes| panic!("{mistakes}\n{shown}"));
                prop_assert_eq!(again.config.to_json(), parsed.config.to_json());
                prop_assert_eq!(&again.config.options, &parsed.config.options);
            }
            Err(mistakes) => prop_assert!(mistakes.iter().all(|mistake| mistake.line > 0)),
        }
    }
}

#[test]
fn a_set_of_definitions_knows_the_standard_ones() {
    let none = Definitions::default();
    assert_eq!(none.by_name("vendor-4491", "tftp-servers").map(|own| own.code), Some(2));
    assert_eq!(none.by_code("cablelabs-client-conf", 6).map(|own| own.kind), Some(Type::Fqdn));
}
