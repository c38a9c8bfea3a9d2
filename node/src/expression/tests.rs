//! Golden scripts, and what must hold for any expression.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// Option names and classes of the tests.
struct Names;

impl OptionNames for Names {
    fn code(&self, name: &str) -> Option<u32> {
        let all =
            [("host-name", 12), ("ip-forwarding", 19), ("my-opt", 222), ("dhcp-agent-options", 82)];
        // A definition whose code a message has no room for.
        let all = all.into_iter().chain([("too-big", 300)]);
        all.into_iter().find(|(known, _)| *known == name).map(|(_, code)| code)
    }

    fn is_class(&self, name: &str) -> bool {
        ["ALL", "KNOWN", "UNKNOWN", "BOOTP", "earlier"].contains(&name)
            || ["VENDOR_CLASS_", "HA_", "AFTER_", "EXTERNAL_"].iter().any(|p| name.starts_with(p))
    }
}

/// A packet as a script describes it.
#[derive(Default)]
struct Packet {
    options: BTreeMap<u8, Vec<u8>>,
    fields: BTreeMap<Field, Vec<u8>>,
    classes: BTreeSet<String>,
    /// Whether options come joined, as from parts.
    owned: bool,
}

impl Packet {
    fn give<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        if self.owned { Cow::Owned(bytes.to_vec()) } else { Cow::Borrowed(bytes) }
    }
}

impl Facts for Packet {
    fn option(&self, code: u8) -> Option<Cow<'_, [u8]>> {
        self.options.get(&code).map(|bytes| self.give(bytes))
    }

    fn option_text(&self, code: u8) -> Option<Cow<'_, [u8]>> {
        self.option(code)
    }

    fn sub_option_text<'a>(&'a self, path: &[u8], payload: Cow<'a, [u8]>) -> Cow<'a, [u8]> {
        Cow::Owned([format!("{path:?} ").as_bytes(), &payload].concat())
    }

    fn field(&self, field: Field) -> Cow<'_, [u8]> {
        self.fields.get(&field).map(|bytes| self.give(bytes)).unwrap_or_default()
    }

    fn is_member(&self, class: &str) -> bool {
        self.classes.contains(class)
    }
}

/// `'text'` or hexadecimal digits, or both, one behind the other.
fn bytes(written: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (n, part) in written.split('\'').enumerate() {
        if n % 2 == 1 {
            bytes.extend_from_slice(part.as_bytes());
            continue;
        }
        let digits: Vec<u32> = part.chars().filter_map(|c| c.to_digit(16)).collect();
        assert_eq!(digits.len() % 2, 0, "{written}");
        bytes.extend(digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8));
    }
    bytes
}

fn packet(description: &str) -> Packet {
    let mut packet = Packet::default();
    for line in description.lines().filter(|line| !line.is_empty()) {
        let mut words = line.splitn(3, ' ');
        let (what, name, value) = (words.next(), words.next(), words.next().unwrap_or_default());
        let name = name.expect(line);
        match what {
            Some("option") => {
                packet.options.insert(name.parse().expect(line), bytes(value));
            }
            Some("field") => {
                let field = Field::ALL.iter().find(|field| field.keyword() == name).expect(line);
                packet.fields.insert(*field, bytes(value));
            }
            Some("class") => {
                packet.classes.insert(name.to_owned());
            }
            _ => panic!("{line}"),
        }
    }
    packet
}

/// What a script says of an expression: `true`, `false`, a string, or why there is none.
fn value(source: &str, packet: &Packet) -> String {
    let as_test = parse_test(source, &Names).map(|test| {
        assert!(test.cost() <= MAX_COST);
        test.evaluate(packet).map(|truth| truth.to_string())
    });
    let as_text = || {
        let text = parse_text(source, &Names)?;
        let printed = |value: Vec<u8>| match String::from_utf8(value) {
            Ok(text) if !text.contains(char::is_control) => format!("'{text}'"),
            Ok(text) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
            Err(error) => error.into_bytes().iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        Ok::<_, Wrong>(text.evaluate(packet).map(printed))
    };
    match as_test.or_else(|_| as_text()) {
        Ok(Ok(value)) => format!("=> {value}"),
        Ok(Err(error)) => format!("! {error}"),
        Err(wrong) => format!("cannot be read: {wrong}"),
    }
}

/// A script is packets: `packet`, its facts, an empty line, then lines of `expression => value` or
/// `expression ! error`.
#[test]
fn expressions_have_the_values_the_script_says() {
    let script = include_str!("testscripts/values");
    let mut wrong = String::new();
    let mut checked = 0;
    for part in script.split("\npacket\n").skip(1) {
        let (facts, lines) = part.split_once("\n\n").expect(part);
        let mut packet = packet(facts);
        for line in lines.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let at = line.rfind(" => ").or_else(|| line.rfind(" ! ")).expect(line);
            let (source, expected) = (&line[..at], &line[at + 1..]);
            for owned in [false, true] {
                packet.owned = owned;
                let actual = value(source, &packet);
                if actual != expected {
                    wrong += &format!("{source} {actual}\n");
                }
            }
            checked += 1;
        }
    }
    assert!(wrong.is_empty(), "these have other values:\n{wrong}");
    assert!(checked > 100, "{checked} lines");
}

/// A script is pairs of lines, an expression and what is said of it. `\n` in an expression is a new
/// line. `text: ` begins a string-valued expression.
#[test]
fn expressions_are_judged_as_the_script_says() {
    let script = include_str!("testscripts/syntax");
    let lines: Vec<&str> =
        script.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let mut wrong = String::new();
    for pair in lines.chunks(2) {
        let [source, expected] = pair else { panic!("{pair:?}") };
        let actual = verdict(source);
        if actual != expected.trim_start() {
            wrong += &format!("{source}\n    {actual}\n");
        }
    }
    assert!(wrong.is_empty(), "these are judged otherwise:\n{wrong}");
}

fn verdict(line: &str) -> String {
    let line = line.strip_prefix('`').and_then(|line| line.strip_suffix('`')).unwrap_or(line);
    let source = line.replace("\\n", "\n").replace("\\r", "\r");
    let (source, result) = match source.strip_prefix("text: ") {
        Some(source) => (source, parse_text(source, &Names).map(drop)),
        None => (&*source, parse_test(&source, &Names).map(drop)),
    };
    let Err(wrong) = result else { return "ok".to_owned() };
    assert!(wrong.at <= source.len(), "{source}");
    let before = format!("expression: [{source}] error: ");
    wrong.text.strip_prefix(&before).unwrap_or_else(|| panic!("{}", wrong.text)).to_owned()
}

/// Words of which expressions are made, right and wrong ones.
fn word() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "(",
        ")",
        "[",
        "]",
        ".",
        ",",
        "+",
        "*",
        "==",
        "not",
        "and",
        "or",
        "sand",
        "sor",
        "option",
        "relay4",
        "relay6",
        "text",
        "hex",
        "exists",
        "member",
        "match",
        "vendor",
        "vendor-class",
        "enterprise",
        "data",
        "pkt",
        "pkt4",
        "iface",
        "mac",
        "substring",
        "split",
        "all",
        "concat",
        "ifelse",
        "sifelse",
        "lcase",
        "hexstring",
        "addrtotext",
        "int8totext",
        "'a'",
        "'",
        "''",
        "0x61",
        "0x",
        "1",
        "-1",
        "0",
        "300",
        "99999999999999999999",
        "1.2.3.4",
        "1.2.3",
        "::1",
        ":",
        "host-name",
        "\n",
        " ",
        "é",
        "@",
        "'ALL'",
        "'[a-z]*'",
        "'(a|b'",
        "[12]",
        "(option[82]",
        ".hex",
        ".exists",
        "option[12].hex == 'host'",
        "option[125].option[1].exists",
    ])
}

/// A well-formed expression: a truth value or a string.
fn expression(truth: bool) -> BoxedStrategy<String> {
    let simple_truth = prop::sample::select(vec![
        "option[12].exists",
        "relay4[1].option[3].exists",
        "vendor[*].exists",
        "vendor-class[3545].exists",
        "vendor[3545].option[2].exists",
        "member('ALL')",
        "not member('KNOWN')",
        "option[43].option[5].exists",
    ]);
    let simple_string = prop::sample::select(vec![
        "'a'",
        "''",
        "0x00ff",
        "0xC3",
        "'é'",
        "7",
        "::1",
        "option[12].hex",
        "option[82].option[1].text",
        "relay4[9].option[5].hex",
        "vendor.enterprise",
        "vendor-class.enterprise",
        "vendor-class[*].data[1]",
        "pkt.len",
        "pkt4.mac",
        "vendor[4491].option[5].hex",
        "0x0a",
    ]);
    let truths = simple_truth.prop_map(str::to_owned).boxed();
    let strings = simple_string.prop_map(str::to_owned).boxed();
    // Each level has truth values and strings of the level below.
    let (truths, strings) = (0..4).fold((truths, strings), |(t, s), _| {
        let number = || prop::sample::select(vec!["-9", "-2", "-1", "0", "1", "2", "5"]);
        let more_truths = prop_oneof![
            2 => t.clone(),
            2 => (s.clone(), s.clone()).prop_map(|(a, b)| format!("{a} == {b}")),
            1 => t.clone().prop_map(|a| format!("not ({a})")),
            1 => t.clone().prop_map(|a| format!("({a})")),
            1 => s.clone().prop_map(|a| format!("match('[a-z.0-9]+', {a})")),
            4 => (t.clone(), prop::sample::select(vec!["and", "or", "sand", "sor"]), t.clone())
                .prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        ];
        let more_strings = prop_oneof![
            2 => s.clone(),
            1 => s.clone().prop_map(|a| format!("({a})")),
            2 => (s.clone(), s.clone()).prop_map(|(a, b)| format!("{a} + {b}")),
            1 => (s.clone(), s.clone()).prop_map(|(a, b)| format!("concat({a}, {b})")),
            1 => (s.clone(), number(), number())
                .prop_map(|(a, n, m)| format!("substring({a}, {n}, {m})")),
            1 => (s.clone(), number()).prop_map(|(a, n)| format!("substring({a},{n},all)")),
            1 => (s.clone(), s.clone(), number())
                .prop_map(|(a, b, n)| format!("split({a}, {b}, {n})")),
            1 => (t.clone(), s.clone(), s.clone(), any::<bool>()).prop_map(|(t, a, b, both)| {
                format!("{}ifelse({t}, {a}, {b})", if both { "s" } else { "" })
            }),
            1 => (s.clone(), s.clone()).prop_map(|(a, b)| format!("hexstring({a}, {b})")),
            1 => (s.clone(), prop::sample::select(vec!["lcase", "ucase", "addrtotext", "uint32totext"]))
                .prop_map(|(a, f)| format!("{f}({a})")),
        ];
        (more_truths.boxed(), more_strings.boxed())
    });
    if truth { truths } else { strings }
}

fn rich_packet() -> Packet {
    let script = include_str!("testscripts/values");
    let part = script.split("\npacket\n").nth(1).expect("a packet");
    packet(part.split_once("\n\n").expect("facts").0)
}

proptest! {
    #[test]
    fn no_tokens_make_the_parser_panic(words in prop::collection::vec(word(), 0..24), spaced in any::<bool>()) {
        let source = words.join(if spaced { " " } else { "" });
        let packet = rich_packet();
        match parse_test(&source, &Names) {
            Ok(test) => { let _ = test.evaluate(&packet); }
            Err(wrong) => prop_assert!(wrong.at <= source.len() && source.is_char_boundary(wrong.at)),
        }
        if let Ok(text) = parse_text(&source, &Names) {
            let _ = text.evaluate(&packet);
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(source in "\\PC*") {
        let _ = parse_test(&source, &Names);
        let _ = parse_text(&source, &Names);
        let _ = parse_test(&format!("match('{source}', 'a')"), &Names);
    }

    #[test]
    fn a_cut_expression_is_refused_or_read_but_never_panics(source in expression(true), at in any::<prop::sample::Index>()) {
        let at = source.floor_char_boundary(at.index(source.len() + 1));
        if let Err(wrong) = parse_test(&source[..at], &Names) {
            prop_assert!(wrong.at <= at);
        }
    }

    #[test]
    fn printing_and_parsing_again_gives_the_same_tree_and_value(source in expression(true)) {
        let first = parse_test(&source, &Names).unwrap();
        let second = parse_test(&first.to_string(), &Names).unwrap();
        prop_assert_eq!(&second, &first, "{}", source);
        prop_assert_eq!(second.to_string(), first.to_string());
        let mut packet = rich_packet();
        let value = first.evaluate(&packet);
        prop_assert_eq!(&second.evaluate(&packet), &value);
        packet.owned = true;
        prop_assert_eq!(&first.evaluate(&packet), &value);
    }

    #[test]
    fn strings_print_and_parse_again_and_stay_bounded(source in expression(false)) {
        let first = parse_text(&source, &Names).unwrap();
        let second = parse_text(&first.to_string(), &Names).unwrap();
        prop_assert_eq!(&second, &first, "{}", source);
        let mut packet = rich_packet();
        let value = first.evaluate(&packet);
        packet.owned = true;
        prop_assert_eq!(&second.evaluate(&packet), &value);
        if let Ok(value) = value {
            prop_assert!(value.len() <= MAX_VALUE);
            prop_assert!(value.len() as u32 <= cost::of_str(&first.root).len, "{}", source);
        }
    }

    #[test]
    fn no_payload_makes_an_evaluation_panic(
        source in expression(true),
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 4),
    ) {
        let mut packet = rich_packet();
        for (code, payload) in [43, 82, 124, 125].into_iter().zip(payloads) {
            packet.options.insert(code, payload);
        }
        let test = parse_test(&source, &Names).unwrap();
        let borrowed = test.evaluate(&packet);
        packet.owned = true;
        prop_assert_eq!(test.evaluate(&packet), borrowed);
    }
}

fn refused(source: &str) -> String {
    let wrong = parse_test(source, &Names).expect_err("it is refused");
    let (_, what) = wrong.text.split_once("] error: ").expect("Kea's frame");
    what.to_owned()
}

#[test]
fn nesting_is_bounded_and_never_overflows_the_stack() {
    let deep = |n: usize, open: &str, middle: &str, close: &str| {
        open.repeat(n) + middle + &close.repeat(n)
    };
    let most = MAX_DEPTH as usize;
    assert!(parse_test(&deep(most, "(", "'a' == 'b'", ")"), &Names).is_ok());
    for n in [most + 1, 100_000] {
        let what = refused(&deep(n, "(", "'a' == 'b'", ")"));
        assert_eq!(what, "<string>:1.101: nested deeper than 100 levels");
    }
    let what = refused(&deep(20_000, "lcase(", "'a'", ")"));
    assert!(what.ends_with("nested deeper than 100 levels"), "{what}");
    for open in [
        "ifelse(",
        "not (",
        "concat('a', ",
        "substring(",
        "ifelse('a' == ",
        "'a' + (",
        "match('a', ",
    ] {
        for close in [")", "", ", 'a', 'b')", ", 0, 1)"] {
            let _ = parse_test(&deep(20_000, open, "'a'", close), &Names);
            let _ = parse_text(&deep(20_000, open, "'a'", close), &Names);
        }
    }
    // What needs no nesting may be long.
    let nots = deep(50_001, "not ", "option[12].exists", "");
    assert_eq!(parse_test(&nots, &Names).unwrap().to_string(), "not option[12].exists");
    let chain = vec!["option[12].exists"; 10_000].join(" and ");
    assert_eq!(parse_test(&chain, &Names).unwrap().evaluate(&rich_packet()), Ok(true));
    let what = refused(&format!("option[43]{}.exists", ".option[1]".repeat(20_000)));
    assert!(what.ends_with("nested deeper than 100 levels"), "{what}");
}

#[test]
fn a_source_is_bounded() {
    let spaces = |n: usize| format!("option[12].exists{}", " ".repeat(n));
    assert!(parse_test(&spaces(MAX_SOURCE - 17), &Names).is_ok());
    let wrong = parse_test(&spaces(MAX_SOURCE), &Names).unwrap_err();
    assert!(wrong.text.ends_with("longer than 262144 bytes"));
    assert!(wrong.text.len() < 1200, "the source is not repeated in full");
    let long = format!("'{}' == 'a'", "a".repeat(MAX_VALUE + 1));
    assert_eq!(refused(&long), "<string>:1.1-2051: constant of more than 2048 bytes");
}

#[test]
fn the_cost_is_known_at_load_and_bounded() {
    let cost = |source: &str| parse_test(source, &Names).unwrap().cost();
    assert!(cost("option[60].hex == 'a'") < 100);
    assert!(cost("option[60].hex == option[61].hex") > cost("option[60].hex == 'a'") + 2000);
    let expensive = "match('.*a.{40}', option[60].hex)";
    assert!(cost(expensive) > 100_000);
    let many = [expensive; 30].join(" or ");
    let what = refused(&many);
    assert!(what.contains("costs up to") && what.contains("3000000 are allowed"), "{what}");
    let hex =
        (0..90).fold("option[60].hex".to_owned(), |inner, _| format!("hexstring({inner}, ':')"));
    let text = parse_text(&hex, &Names).unwrap();
    assert_eq!(text.evaluate(&rich_packet()), Err(EvalError::TooLong(2552)));
}

#[test]
fn the_classes_it_asks_for_are_known() {
    let source = "member('KNOWN') and not (member('ALL') or ifelse(member('earlier'), 'a', 'b') == 'a')
        or match('a', ifelse(member('KNOWN'), 'a', 'b')) sor substring(ifelse(member('BOOTP'), 'a', 'b'), 0, 1) == 'a'";
    let test = parse_test(source, &Names).unwrap();
    assert_eq!(test.members().collect::<Vec<_>>(), ["ALL", "BOOTP", "KNOWN", "earlier"]);
    let text = parse_text("hexstring(split(ifelse(member('ALL'), 'a', 'b'), ':', 1), '')", &Names);
    assert_eq!(text.unwrap().members().collect::<Vec<_>>(), ["ALL"]);
    assert_eq!(parse_test("option[12].exists", &Names).unwrap().members().count(), 0);
}

#[test]
fn options_longer_than_a_value_are_an_error_only_where_the_value_is_needed() {
    let mut packet = rich_packet();
    packet.options.insert(60, vec![b'a'; MAX_VALUE + 1]);
    let value = |source: &str| parse_test(source, &Names).unwrap().evaluate(&packet);
    assert_eq!(value("option[60].hex == 'a'"), Err(EvalError::TooLong(2049)));
    assert_eq!(value("option[60].text == 'a'"), Err(EvalError::TooLong(2049)));
    assert_eq!(value("option[60].exists"), Ok(true));
}
