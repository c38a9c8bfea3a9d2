//! Golden scripts, samples and their mutations.

use super::*;
use crate::types::SubnetId;
use proptest::prelude::*;
use serde_json::Value as Json;

const SAMPLES: [&str; 6] = [
    include_str!("../../../deploy/samples/kea-dhcp4.conf"),
    include_str!("../../../deploy/samples/minimal.conf"),
    include_str!("../../../deploy/samples/campus.conf"),
    include_str!("../../../deploy/samples/provider.conf"),
    include_str!("../../../deploy/samples/pair.conf"),
    include_str!("../../../deploy/samples/office.conf"),
];

/// Everything that a configuration means, in words; what it was written like does not count.
pub(super) fn model(config: &Config) -> String {
    let bare = Config {
        // Tables that follow from the lists, in no order.
        by_id: Default::default(),
        lookup: Default::default(),
        classes: Arc::new(Classes {
            by_name: Default::default(),
            list: config.classes.list.clone(),
        }),
        base: Default::default(),
        document: Default::default(),
        hash: Default::default(),
        ..config.clone()
    };
    format!("{bare:#?}")
}

/// The files that documents of the tests include.
fn load(name: &str) -> Result<String, String> {
    match name {
        "lifetimes.inc" => Ok("\"valid-lifetime\": 600, // pasted\n".to_owned()),
        "bogus.inc" => Ok("\n  \"bogus\": 1".to_owned()),
        "loop.inc" => Ok("<?include \"loop.inc\"?>".to_owned()),
        _ => Err("no such file".to_owned()),
    }
}

fn parse_file(text: &str) -> Result<Parsed, Mistakes> {
    parse(text, "kea.conf", &mut load)
}

fn config(text: &str) -> Config {
    parse_file(text).unwrap_or_else(|mistakes| panic!("{mistakes}")).config
}

/// What a script says of a document: its mistakes, or `ok` and the warnings.
fn verdict(title: &str, document: &str) -> String {
    let result =
        if title.starts_with("wire: ") { from_text(document) } else { parse_file(document) };
    let lines: Vec<String> = match result {
        Ok(parsed) => std::iter::once("ok".to_owned())
            .chain(parsed.warnings.iter().map(|warning| format!("warning {}", warning.line())))
            .collect(),
        Err(mistakes) => mistakes.iter().map(Mistake::line).collect(),
    };
    lines.join("\n")
}

/// A script is cases of `>>> title`, the document, `---`, the verdict.
pub(super) fn run_script(script: &str) {
    let mut wrong = String::new();
    for case in script.split("\n>>> ").skip(1) {
        let (title, rest) = case.split_once('\n').expect(case);
        let (document, expected) = rest.split_once("---\n").expect(title);
        let actual = verdict(title, document.trim_end_matches('\n'));
        if actual != expected.trim_end() {
            wrong += &format!("\n>>> {title}\n{document}---\n{actual}\n");
        }
    }
    assert!(wrong.is_empty(), "these cases end otherwise:\n{wrong}");
}

#[test]
fn the_dialect_is_read_as_the_script_says() {
    run_script(include_str!("testscripts/syntax"));
}

#[test]
fn keywords_are_judged_as_the_script_says() {
    run_script(include_str!("testscripts/keywords"));
}

#[test]
fn networks_are_judged_as_the_script_says() {
    run_script(include_str!("testscripts/networks"));
}

#[test]
fn old_spellings_are_judged_as_the_script_says() {
    run_script(include_str!("testscripts/spellings"));
}

#[test]
fn classes_are_judged_as_the_script_says() {
    run_script(include_str!("testscripts/classes"));
}

#[test]
fn values_are_judged_as_the_script_says() {
    run_script(include_str!("testscripts/values"));
}

#[test]
fn hooks_are_judged_as_the_script_says() {
    run_script(include_str!("testscripts/hooks"));
}

/// What comes of it when what `config-get` shows is set on top of it.
fn set_again(config: &Config) -> Config {
    let shown = serde_json::json!({ "Dhcp4": config.to_json() }).to_string();
    let whole = secrets::restored(&shown, Some(config));
    let whole = whole.unwrap_or_else(|mistakes| panic!("{mistakes}")).unwrap_or(shown);
    from_text(&whole).unwrap_or_else(|mistakes| panic!("{mistakes}")).config
}

#[test]
fn what_config_get_shows_is_accepted_and_changes_nothing() {
    for sample in SAMPLES {
        let first = config(sample);
        let second = set_again(&first);
        assert_eq!(second.to_json(), first.to_json());
        assert_eq!(second.hash(), first.hash());
        // What a network says of its relays is shown in its subnets, as Kea does.
        let (mut first, mut second) = (first, second);
        for config in [&mut first, &mut second] {
            config.subnets.iter_mut().for_each(|subnet| subnet.relays.clear());
        }
        assert_eq!(model(&second), model(&first));
    }
}

#[test]
fn the_document_of_a_configuration_gives_that_configuration() {
    for sample in SAMPLES {
        let first = config(sample);
        let second =
            from_text(first.document()).unwrap_or_else(|mistakes| panic!("{mistakes}")).config;
        assert_eq!(second.document(), first.document());
        assert_eq!(second.hash(), first.hash());
        assert_eq!(model(&second), model(&first));
    }
}

#[test]
fn the_hash_is_sha_256_in_upper_case_and_knows_what_differs() {
    let one = config(r#"{ "Dhcp4": { "valid-lifetime": 600, "authoritative": true } }"#);
    let same =
        config(r#"{ "Dhcp4": { "authoritative": true, /* comment */ "valid-lifetime": 0600 } }"#);
    let other = config(r#"{ "Dhcp4": { "authoritative": true, "valid-lifetime": 601 } }"#);
    assert_eq!(one.hash().len(), 64);
    assert!(one.hash().bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase()));
    assert_eq!(one.hash(), same.hash());
    assert_ne!(one.hash(), other.hash());
}

#[test]
fn values_are_inherited_key_by_key() {
    let config = config(
        r#"{ "Dhcp4": {
            "valid-lifetime": 4000, "max-valid-lifetime": 5000, "boot-file-name": "outer", "next-server": "192.0.2.9",
            "shared-networks": [ { "name": "a", "renew-timer": 1000, "interface": "eth0", "boot-file-name": "middle",
                "subnet4": [ { "id": 1, "subnet": "10.0.0.0/24" },
                             { "id": 7, "subnet": "10.0.1.0/24", "valid-lifetime": 4500, "boot-file-name": "" } ] } ],
            "subnet4": [ { "id": 2, "subnet": "192.0.2.0/24", "match-client-id": false } ] } }"#,
    );
    let values = |id| &config.subnet(SubnetId(id)).unwrap().values;
    let lifetimes = |id| {
        let values = values(id);
        [values.min_valid_lifetime, values.valid_lifetime, values.max_valid_lifetime]
            .map(|time| time.as_secs())
    };
    assert_eq!(lifetimes(1), [4000, 4000, 5000]);
    assert_eq!(lifetimes(7), [4500, 4500, 5000]);
    assert_eq!(values(1).renew_timer, Some(1000));
    assert_eq!(values(2).renew_timer, None);
    assert_eq!(
        [1, 7, 2].map(|id| values(id).boot_file_name.as_str()),
        ["middle", "middle", "outer"]
    );
    assert_eq!([1, 2].map(|id| values(id).match_client_id), [true, false]);
    assert_eq!(values(2).cache_threshold, 0.25);
    assert_eq!(values(1).next_server.to_string(), "192.0.2.9");
    assert_eq!(config.subnet(SubnetId(7)).unwrap().interface.as_deref(), Some("eth0"));
    assert_eq!(config.network_of(config.subnet(SubnetId(2)).unwrap()).name, None);
    assert_eq!(
        config.members(NetworkIndex(0)).map(|subnet| subnet.id.0).collect::<Vec<_>>(),
        [1, 7]
    );
}

#[test]
fn r8_subnets_without_ids_are_numbered_as_kea_did_and_keep_their_numbers() {
    let config = config(
        r#"{ "Dhcp4": {
            "subnet4": [ { "subnet": "192.0.2.0/24" } ],
            "shared-networks": [ { "name": "a", "subnet4": [ { "subnet": "10.0.0.0/24" }, { "id": 7, "subnet": "10.0.1.0/24" } ] } ] } }"#,
    );
    let ids: Vec<(String, u32)> =
        config.subnets.iter().map(|subnet| (subnet.prefix.to_string(), subnet.id.0)).collect();
    let expected = [("10.0.0.0/24", 1), ("10.0.1.0/24", 7), ("192.0.2.0/24", 2)];
    assert_eq!(ids, expected.map(|(prefix, id)| (prefix.to_owned(), id)));
    assert_eq!(config.document_json()["Dhcp4"]["subnet4"][0]["id"], 2);
    assert_eq!(config.document_json()["Dhcp4"]["shared-networks"][0]["subnet4"][0]["id"], 1);
    let again = from_text(config.document()).unwrap();
    assert!(again.warnings.is_empty(), "{:?}", again.warnings);
}

#[test]
fn reservations_are_found_by_identifier_and_address() {
    let config = config(SAMPLES[0]);
    let reservations = &config.subnet(SubnetId(10)).unwrap().reservations;
    let by_hw =
        |last| reservations.by_identifier(IdentifierKind::HwAddress, &[2, 0, 0, 0, 0x20, last]);
    let by_id = reservations.by_identifier(IdentifierKind::ClientId, &[1, 2, 0, 0, 0, 0x20, 2]);
    let name = |found: Option<&Reservation>| found.unwrap().hostname.to_string();
    assert_eq!(name(by_hw(1)), "printer-1");
    assert_eq!(name(by_id), "printer-2");
    assert!(by_hw(99).is_none());
    assert_eq!(name(reservations.of_address([10, 20, 0, 21].into()).next()), "printer-2");
    let printer = by_hw(1).unwrap();
    assert_eq!(&*printer.options().get(2).unwrap().bytes, &(-3600_i32).to_be_bytes());
}

#[test]
fn config_get_shows_every_form_in_one_way() {
    let config = config(
        r#"{ "Dhcp4": { "subnet4": [ { "id": 1, "subnet": "192.0.2.77/24", "comment": "hi",
            "relay": { "ip-address": "10.0.0.1" },
            "pools": [ { "pool": " 192.0.2.10  -  192.0.2.20 " }, { "pool": "192.0.2.33/28" },
                       { "pool": "192.0.2.64-192.0.2.127" } ],
            "option-data": [ { "code": 3, "data": "192.0.2.1" }, { "code": 222, "csv-format": false, "data": "'ab'" } ],
            "reservations": [ { "hw-address": "2:AA:0:0:0:1", "ip-address": "192.0.2.5" },
                              { "client-id": "'abc'", "hostname": "Foo" } ] } ] } }"#,
    );
    let subnet = &config.to_json()["subnet4"][0];
    assert_eq!(subnet["subnet"], "192.0.2.0/24");
    assert_eq!(subnet["user-context"], serde_json::json!({ "comment": "hi" }));
    assert_eq!(subnet["relay"], serde_json::json!({ "ip-addresses": ["10.0.0.1"] }));
    assert_eq!(subnet["pools"][0]["pool"], "192.0.2.10-192.0.2.20");
    assert_eq!(subnet["pools"][1]["pool"], "192.0.2.32/28");
    assert_eq!(
        subnet["pools"][2],
        serde_json::json!({ "pool": "192.0.2.64/26", "option-data": [] })
    );
    assert_eq!(subnet["option-data"][0]["name"], "routers");
    assert_eq!(subnet["option-data"][1]["data"], "6162");
    assert_eq!(subnet["reservations"][0]["hw-address"], "02:aa:00:00:00:01");
    assert_eq!(subnet["reservations"][1]["client-id"], "616263");
    assert_eq!(
        (&subnet["valid-lifetime"], &subnet["min-valid-lifetime"]),
        (&Json::from(7200), &Json::from(7200))
    );
}

#[test]
fn the_tables_name_each_keyword_once_and_take_their_own_defaults() {
    fn walk(scope: &'static schema::Scope, seen: &mut Vec<*const schema::Scope>) {
        if seen.contains(&std::ptr::from_ref(scope)) {
            return;
        }
        seen.push(std::ptr::from_ref(scope));
        let mut names: Vec<&str> = scope.keywords().map(|keyword| keyword.name).collect();
        names.sort_unstable();
        names.windows(2).for_each(|pair| assert_ne!(pair[0], pair[1], "{}", scope.name));
        for keyword in scope.keywords() {
            assert!(
                !names.contains(&"comment") && !names.contains(&"user-context"),
                "{}",
                scope.name
            );
            if let schema::Kind::Map(inner) | schema::Kind::Maps(inner) = keyword.kind {
                walk(inner, seen);
            }
        }
    }
    walk(&schema::DHCP4, &mut Vec::new());

    let empty = config(r#"{ "Dhcp4": { } }"#);
    let shown = from_json(&serde_json::json!({ "Dhcp4": empty.to_json() })).unwrap();
    assert!(shown.warnings.is_empty(), "{:?}", shown.warnings);
    assert_eq!(shown.config.hash(), empty.hash());
}

/// What a 2.2 server answers to `config-get` is a document like any other.
#[test]
fn what_kea_shows_is_accepted() {
    let shown = include_str!("testscripts/kea-2.2-config-get.json");
    let parsed = from_text(shown).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let ids: Vec<u32> = parsed.config.subnets.iter().map(|subnet| subnet.id.0).collect();
    assert_eq!(ids, [1, 7, 2]);
    let lifetimes =
        parsed.config.subnet(SubnetId(7)).map(|subnet| subnet.values.min_valid_lifetime.as_secs());
    assert_eq!(lifetimes, Some(4500));
}

/// Plants a key in the map at each place of a document in turn; free maps are left alone.
fn plant(document: &Json) -> Vec<(String, Json)> {
    fn places(json: &Json, path: String, all: &mut Vec<String>) {
        match json {
            Json::Object(map) => {
                all.push(path.clone());
                for (key, value) in map.iter().filter(|(key, _)| key.as_str() != "user-context") {
                    places(value, format!("{path}/{key}"), all);
                }
            }
            Json::Array(list) => {
                list.iter()
                    .enumerate()
                    .for_each(|(at, value)| places(value, format!("{path}/{at}"), all));
            }
            _ => {}
        }
    }
    let mut all = Vec::new();
    places(document, String::new(), &mut all);
    let planted = |path: String| {
        let mut copy = document.clone();
        let map =
            copy.pointer_mut(&path).and_then(Json::as_object_mut).expect("the place is a map");
        map.insert("stray-key".to_owned(), Json::from(1));
        (path, copy)
    };
    all.into_iter().map(planted).collect()
}

#[test]
fn a_stray_key_is_refused_in_every_map() {
    for sample in SAMPLES {
        let config = config(sample);
        for document in [config.document_json(), serde_json::json!({ "Dhcp4": config.to_json() })] {
            let planted = plant(&document);
            assert!(planted.len() > 5);
            for (path, document) in planted {
                let mistakes = from_json(&document).expect_err(&path);
                assert!(
                    mistakes.iter().any(|mistake| mistake.text.contains("stray-key")),
                    "{path}: {mistakes}"
                );
            }
        }
    }
}

#[test]
fn a_sample_cut_anywhere_is_refused() {
    for sample in SAMPLES {
        let end = sample.trim_end().len();
        for cut in (0..end).step_by(7).filter(|cut| sample.is_char_boundary(*cut)) {
            assert!(parse_file(&sample[..cut]).is_err(), "cut at {cut}");
        }
    }
}

#[test]
fn nesting_has_an_end_on_every_way_in() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(10_000), close.repeat(10_000));
        for text in [deep.clone(), format!("{{\"Dhcp4\":{{\"user-context\":{{\"a\":{deep}}}}}}}")] {
            let mistakes = parse_file(&text).unwrap_err();
            assert!(mistakes.to_string().contains("nest deeper"), "{mistakes}");
            assert!(from_text(&text).is_err());
        }
    }
}

#[test]
fn a_file_in_another_encoding_is_told_where() {
    assert_eq!(text_of(b"{ }".to_vec(), "kea.conf"), Ok("{ }".to_owned()));
    let mistakes =
        text_of("{\n  \"é\": \"".bytes().chain([0xe9]).collect(), "kea.conf").unwrap_err();
    assert_eq!(
        mistakes.to_string(),
        "byte 0xe9 is no UTF-8, which the file must be (kea.conf:2:9)"
    );
}

#[test]
fn a_document_of_nothing_but_mistakes_reports_a_bounded_number() {
    let bogus: Vec<String> = (0..5000).map(|at| format!("\"bogus-{at}\":1")).collect();
    let mistakes = parse_file(&format!("{{\"Dhcp4\":{{{}}}}}", bogus.join(","))).unwrap_err();
    assert_eq!(mistakes.iter().count(), Mistakes::MAX);
    assert!(mistakes.iter().last().unwrap().text.contains("more to say"));
}

#[test]
fn an_include_directive_may_be_as_odd_as_it_likes() {
    for directive in [
        "<?",
        "<??>",
        "<?>",
        "<?include?>",
        "<?include \"?>",
        "<?include \"a\nb\"?>",
        "<?include \"é",
    ] {
        let mistakes = parse_file(&format!("{{\"Dhcp4\":{{{directive}")).unwrap_err();
        assert!(mistakes.to_string().contains("Directive not closed"), "{directive}: {mistakes}");
    }
}

#[test]
fn includes_have_a_bound_in_number() {
    let mut count = 0_u32;
    let text = format!("{{\"Dhcp4\":{{{}}}}}", "<?include \"x\"?>".repeat(20_000));
    let result = parse(&text, "kea.conf", &mut |_| {
        count += 1;
        Ok(" ".to_owned())
    });
    assert!(result.unwrap_err().to_string().contains("files are included"));
    assert!(count <= 10_000);
}

/// Some values of one scope; any two scopes go together, as long as the outermost has a lifetime.
fn some_values() -> impl Strategy<Value = serde_json::Map<String, Json>> {
    let secs =
        |key: &'static str, range: std::ops::Range<u32>| (Just(key), range.prop_map(Json::from));
    let value = prop_oneof![
        secs("min-valid-lifetime", 1..1000),
        secs("valid-lifetime", 1000..2000),
        secs("max-valid-lifetime", 2000..9000),
        secs("renew-timer", 0..500),
        secs("rebind-timer", 500..900),
        secs("cache-max-age", 0..900),
        (Just("match-client-id"), any::<bool>().prop_map(Json::from)),
        (Just("calculate-tee-times"), any::<bool>().prop_map(Json::from)),
        (Just("cache-threshold"), prop_oneof![Just(0.0), Just(0.5)].prop_map(Json::from)),
        (Just("t1-percent"), prop_oneof![Just(0.25), Just(0.75)].prop_map(Json::from)),
        (Just("boot-file-name"), "[a-c]{0,2}".prop_map(Json::from)),
        (Just("next-server"), prop_oneof![Just("0.0.0.0"), Just("192.0.2.9")].prop_map(Json::from)),
    ];
    proptest::collection::vec(value, 0..6)
        .prop_map(|values| values.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

proptest! {
    #[test]
    fn config_get_repeats_what_subnets_inherit(mut global in some_values(), mut network in some_values(), mut subnet in some_values()) {
        global.entry("valid-lifetime").or_insert(Json::from(1500));
        let scopes = [subnet.clone(), network.clone(), global.clone()];
        let innermost = |key: &str| scopes.iter().find_map(|scope| scope.get(key)).cloned();
        subnet.insert("id".to_owned(), Json::from(1));
        subnet.insert("subnet".to_owned(), Json::from("192.0.2.0/24"));
        network.insert("name".to_owned(), Json::from("a"));
        network.insert("subnet4".to_owned(), Json::Array(vec![Json::Object(subnet)]));
        global.insert("shared-networks".to_owned(), Json::Array(vec![Json::Object(network)]));
        let first = from_json(&serde_json::json!({ "Dhcp4": global })).unwrap_or_else(|m| panic!("{m}")).config;
        let values = &first.subnets[0].values;

        let secs = |key: &str| innermost(key).and_then(|value| value.as_u64()).map(|secs| secs as u32);
        let valid = secs("valid-lifetime").unwrap();
        prop_assert_eq!(values.valid_lifetime.as_secs(), valid);
        prop_assert_eq!(values.min_valid_lifetime.as_secs(), secs("min-valid-lifetime").unwrap_or(valid));
        prop_assert_eq!(values.max_valid_lifetime.as_secs(), secs("max-valid-lifetime").unwrap_or(valid));
        prop_assert_eq!(values.renew_timer, secs("renew-timer"));
        prop_assert_eq!(values.match_client_id, innermost("match-client-id").is_none_or(|flag| flag == true));
        prop_assert_eq!(values.cache_threshold, innermost("cache-threshold").and_then(|x| x.as_f64()).unwrap_or(0.25));
        // An empty one is as unset.
        let mut texts = scopes.iter().filter_map(|scope| scope.get("boot-file-name")?.as_str());
        let text = texts.find(|text| !text.is_empty()).unwrap_or_default();
        prop_assert_eq!(&values.boot_file_name, text);

        let shown = first.to_json();
        let own = &shown["shared-networks"][0]["subnet4"][0];
        prop_assert_eq!(own["max-valid-lifetime"].as_u64(), Some(u64::from(values.max_valid_lifetime.as_secs())));
        prop_assert_eq!(own.get("renew-timer").and_then(Json::as_u64), values.renew_timer.map(u64::from));
        let second = from_json(&serde_json::json!({ "Dhcp4": shown })).unwrap_or_else(|m| panic!("{m}")).config;
        prop_assert_eq!(&second.subnets[0].values, values);
        prop_assert_eq!(second.hash(), first.hash());
    }

    #[test]
    fn a_mutated_sample_is_read_or_refused(which in 0..SAMPLES.len(), edits in proptest::collection::vec((any::<u16>(), any::<u8>(), 0..3_u8), 1..6)) {
        let mut bytes = SAMPLES[which].as_bytes().to_vec();
        for (place, byte, kind) in edits {
            let at = usize::from(place) % bytes.len();
            match kind {
                0 => bytes[at] = byte & 0x7f,
                1 => bytes.insert(at, b"{}[],:\"0-\\/*#"[usize::from(byte) % 13]),
                _ => drop(bytes.remove(at)),
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        match parse_file(&text) {
            Ok(parsed) => {
                let again = set_again(&parsed.config);
                prop_assert_eq!(again.hash(), parsed.config.hash());
            }
            Err(mistakes) => prop_assert!(mistakes.iter().all(|mistake| !mistake.text.is_empty())),
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "[{}\\[\\],:\"0-9a-e\\\\/*# \n.<?-]{0,80}") {
        let _ = parse_file(&text);
        let _ = from_text(&text);
    }

    #[test]
    fn plain_json_is_read_as_serde_json_reads_it(text in "\\PC{0,20}", int in any::<i64>(), real in -1e300..1e300_f64) {
        let context = serde_json::json!({ "text": text, "int": int, "real": real, "list": [null, true, text] });
        let document = serde_json::json!({ "Dhcp4": { "user-context": { "it": context } } });
        let config = from_json(&document).unwrap_or_else(|mistakes| panic!("{mistakes}")).config;
        prop_assert_eq!(config.document_json(), document);
    }
}
