//! Declarations of `dhcpd.leases`, as dhcpd.leases(5) describes them. Pure.
//!
//! ```text
//! file        = { "lease" ADDRESS block | WORD … ( block | ";" ) }
//! block       = "{" { statement } "}"
//! statement   = WORD … ( ";" | block )
//! date        = "never" | "epoch" SECONDS | WEEKDAY YEAR/MONTH/DAY HOUR:MINUTE:SECOND
//! ```

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::net::Ipv4Addr;

use super::lexer::{Kind, Lexer, Token};

/// A `lease` declaration. Dates are Unix seconds; [`NEVER`] has no end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declared {
    /// Where it begins.
    pub line: u32,
    pub starts: Option<i64>,
    pub ends: Option<i64>,
    pub cltt: Option<i64>,
    /// `binding state`; empty when it has none.
    pub state: String,
    /// The hexadecimal part of `hardware`.
    pub hardware: Option<String>,
    pub uid: Option<Vec<u8>>,
    pub hostname: Option<String>,
    /// `set ddns-fwd-name`, `ddns-rev-name`, `ddns-client-fqdn`.
    pub fwd_name: Option<String>,
    pub rev_name: Option<String>,
    pub client_fqdn: Option<String>,
    pub bootp: bool,
    pub reserved: bool,
    /// Whether the relay's circuit or remote id stands there.
    pub relayed: bool,
}

/// The end of a lease without end.
pub const NEVER: i64 = i64::MAX;

/// What a file says, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    Lease(Ipv4Addr, Box<Declared>),
    /// A lease that cannot be read: where, whose if that is known, and why.
    Broken(u32, Option<Ipv4Addr>, String),
}

/// The content of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Content {
    pub items: Vec<Item>,
    /// Declarations of other kinds, and how many of each.
    pub passed_over: BTreeMap<&'static str, u64>,
    /// The first line with something that is in no file of dhcpd.
    pub strange: Option<u32>,
}

impl Content {
    /// Whether there is a lease of DHCPv4, be it a broken one.
    pub fn has_leases(&self) -> bool {
        let of_an_address =
            |item: &Item| matches!(item, Item::Lease(..) | Item::Broken(_, Some(_), _));
        self.items.iter().any(of_an_address)
    }
}

/// Reads a file. Never fails: what is broken is an item of its own.
pub fn parse(text: &[u8]) -> Content {
    let mut content = Content::default();
    let mut parser = Parser { tokens: Lexer::new(text).peekable(), line: 1 };
    while let Some(token) = parser.next() {
        match &token.kind {
            Kind::Word(word) if word == "lease" => {
                let item = parser.lease(token.line);
                if matches!(item, Item::Broken(_, None, _)) {
                    content.strange.get_or_insert(token.line);
                }
                content.items.push(item);
            }
            Kind::Word(word) => {
                if let Some(kind) = kind_of(word) {
                    *content.passed_over.entry(kind).or_default() += 1;
                    if kind == UNKNOWN {
                        content.strange.get_or_insert(token.line);
                    }
                }
                parser.pass_over();
            }
            Kind::Semicolon => {}
            other => {
                let why = format!("unexpected {other}");
                content.strange.get_or_insert(token.line);
                content.items.push(Item::Broken(token.line, None, why));
                match other {
                    Kind::Close => {}
                    Kind::Open => parser.pass_over_block(),
                    _ => parser.pass_over(),
                }
            }
        }
    }
    content
}

/// What bindings of DHCPv6 are called.
pub const DHCPV6: &str = "DHCPv6 binding";
const UNKNOWN: &str = "unknown declaration";

/// What a declaration that is no DHCPv4 lease is called in the report; `None` for settings of the file.
fn kind_of(word: &str) -> Option<&'static str> {
    Some(match word {
        "ia-na" | "ia_na" | "ia-ta" | "ia_ta" | "ia-pd" | "ia_pd" => DHCPV6,
        "failover" => "failover state",
        "host" => "host declaration",
        "group" | "subgroup" => "group",
        "class" | "subclass" => "class",
        "server-duid" | "authoring-byte-order" => return None,
        _ => UNKNOWN,
    })
}

struct Parser<'a> {
    tokens: Peekable<Lexer<'a>>,
    line: u32,
}

/// The words of a statement, without what ends it.
type Words = Vec<Kind>;

impl Parser<'_> {
    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.next()?;
        self.line = token.line;
        Some(token)
    }

    /// Passes over the rest of a declaration: to its `;`, or over its block.
    fn pass_over(&mut self) {
        let mut depth = 0u32;
        while let Some(token) = self.next() {
            match token.kind {
                Kind::Open => depth += 1,
                Kind::Close if depth <= 1 => return,
                Kind::Close => depth -= 1,
                Kind::Semicolon if depth == 0 => return,
                _ => {}
            }
        }
    }

    /// A lease, behind its keyword.
    fn lease(&mut self, line: u32) -> Item {
        let address = match self.next().map(|token| token.kind) {
            Some(Kind::Word(word)) => word.parse().map_err(|_| word),
            Some(Kind::Open) => {
                self.pass_over_block();
                return Item::Broken(line, None, "it names no address".to_owned());
            }
            Some(other) => Err(other.to_string()),
            None => Err("the end of the file".to_owned()),
        };
        let address = match address {
            Ok(address) => address,
            Err(other) => {
                self.pass_over();
                return Item::Broken(line, None, format!("{other} is no IPv4 address"));
            }
        };
        if !matches!(self.next().map(|token| token.kind), Some(Kind::Open)) {
            self.pass_over();
            return Item::Broken(line, Some(address), "'{' is missing".to_owned());
        }
        let mut lease = Declared { line, ..Declared::default() };
        let mut wrong = None;
        loop {
            match self.statement() {
                Statement::Words(at, words) => {
                    if let Err(why) = lease.take(&words) {
                        wrong.get_or_insert(format!("{why} (line {at})"));
                    }
                }
                Statement::Block => {}
                Statement::End => break,
                Statement::Cut(why) => {
                    return Item::Broken(line, Some(address), why);
                }
            }
        }
        match wrong {
            None => Item::Lease(address, Box::new(lease)),
            Some(why) => Item::Broken(line, Some(address), why),
        }
    }

    /// One statement of a block.
    fn statement(&mut self) -> Statement {
        let mut words = Words::new();
        let mut begin = 0;
        loop {
            // A lease that was cut off ends where the next one begins: there the word begins a line.
            if let Some(Token { kind: Kind::Word(word), line }) = self.tokens.peek()
                && word == "lease"
                && (words.is_empty() || *line > self.line)
            {
                return Statement::Cut(format!("it is cut off at line {}", self.line));
            }
            let Some(token) = self.next() else {
                return Statement::Cut("the file ends within it".to_owned());
            };
            if words.is_empty() {
                begin = token.line;
            }
            match token.kind {
                Kind::Semicolon => return Statement::Words(begin, words),
                Kind::Close if words.is_empty() => return Statement::End,
                Kind::Close => {
                    return Statement::Cut(format!("';' is missing before line {}", token.line));
                }
                // `on expiry { … }`: what dhcpd is to do then.
                Kind::Open => {
                    self.pass_over_block();
                    return Statement::Block;
                }
                word => words.push(word),
            }
        }
    }

    /// Passes over a block whose `{` is read.
    fn pass_over_block(&mut self) {
        let mut depth = 1u32;
        while depth > 0 {
            match self.next().map(|token| token.kind) {
                Some(Kind::Open) => depth += 1,
                Some(Kind::Close) => depth -= 1,
                None => return,
                _ => {}
            }
        }
    }
}

enum Statement {
    /// Ended by `;`; and the line that it begins in.
    Words(u32, Words),
    /// Ended by a block.
    Block,
    /// The `}` of the block that it would be in.
    End,
    /// The rest is not there, or not to be trusted.
    Cut(String),
}

impl Declared {
    /// Takes in one statement; those that mean nothing here are passed over.
    fn take(&mut self, words: &[Kind]) -> Result<(), String> {
        let word = |at: usize| match words.get(at) {
            Some(Kind::Word(word)) => word.as_str(),
            _ => "",
        };
        match (word(0), word(1)) {
            ("starts", _) => self.starts = Some(date(&words[1..])?),
            ("ends", _) => self.ends = Some(date(&words[1..])?),
            ("cltt", _) => self.cltt = Some(date(&words[1..])?),
            ("binding", "state") => match word(2) {
                // Flags, before there were flags; whoever has one has the lease.
                flag @ ("bootp" | "reserved") => {
                    self.state = "active".to_owned();
                    self.bootp |= flag == "bootp";
                    self.reserved |= flag == "reserved";
                }
                state => self.state = state.to_owned(),
            },
            ("abandoned", _) => self.state = "abandoned".to_owned(),
            ("hardware", _) if !word(2).is_empty() => self.hardware = Some(word(2).to_owned()),
            ("hardware", _) => {}
            ("uid", _) => self.uid = Some(bytes(&words[1..])?),
            ("client-hostname" | "hostname", _) => self.hostname = Some(name(&words[1..])?),
            ("set", variable) => {
                let place = match variable {
                    "ddns-fwd-name" => &mut self.fwd_name,
                    "ddns-rev-name" => &mut self.rev_name,
                    "ddns-client-fqdn" => &mut self.client_fqdn,
                    _ => return Ok(()),
                };
                *place = Some(name(words.get(3..).unwrap_or_default())?);
            }
            ("option", "agent.circuit-id" | "agent.remote-id") => self.relayed = true,
            ("bootp" | "dynamic-bootp", _) => self.bootp = true,
            ("reserved", _) => self.reserved = true,
            _ => {}
        }
        Ok(())
    }
}

fn name(words: &[Kind]) -> Result<String, String> {
    if let [Kind::Word(word)] = words {
        return Ok(word.clone());
    }
    Ok(String::from_utf8_lossy(&bytes(words)?).into_owned())
}

/// A text, or hexadecimal bytes with colons.
fn bytes(words: &[Kind]) -> Result<Vec<u8>, String> {
    match words {
        [Kind::Text(bytes)] => Ok(bytes.clone()),
        [Kind::Word(word)] => {
            let byte = |digits: &str| u8::from_str_radix(digits, 16);
            word.split(':').map(byte).collect::<Result<_, _>>().or_else(|_| Ok(word.clone().into()))
        }
        [] => Err("a value is missing".to_owned()),
        [.., other] => Err(format!("unexpected {other}")),
    }
}

fn date(words: &[Kind]) -> Result<i64, String> {
    let texts: Option<Vec<&str>> = words
        .iter()
        .map(|word| match word {
            Kind::Word(word) => Some(word.as_str()),
            _ => None,
        })
        .collect();
    let bad = || {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        format!("{} is no date", words.join(" "))
    };
    match texts.as_deref() {
        Some(["never"]) => Ok(NEVER),
        Some(["epoch", seconds]) => seconds.parse().map_err(|_| bad()),
        Some([_, day, time]) => moment(day, time).ok_or_else(bad),
        _ => Err(bad()),
    }
}

/// Unix seconds of `2026/11/29` and `3:04:05`, UTC.
fn moment(day: &str, time: &str) -> Option<i64> {
    let numbers = |text: &str, by: char| -> Option<[i64; 3]> {
        let all: Vec<i64> = text.split(by).map(|n| n.parse().ok()).collect::<Option<_>>()?;
        all.try_into().ok()
    };
    let ([year, month, day], [hour, minute, second]) = (numbers(day, '/')?, numbers(time, ':')?);
    // A second may be a leap second.
    let fits = (1..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    fits.then(|| days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// Days since 1970 in the Gregorian calendar. Years begin in March here, so that the leap day is the last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(text: &str) -> Item {
        let content = parse(text.as_bytes());
        let [item] = &content.items[..] else { panic!("{content:?}") };
        item.clone()
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (day, time, seconds) in [
            ("1970/01/01", "00:00:00", 0),
            ("2000/2/29", "0:0:0", 951_782_400),
            ("2024/12/31", "23:59:59", 1_735_689_599),
            ("2100/3/1", "00:00:00", 4_107_542_400),
        ] {
            assert_eq!(moment(day, time), Some(seconds), "{day}");
        }
        for (day, time) in [
            ("2026/13/1", "0:0:0"),
            ("2026/1", "0:0:0"),
            ("2026/1/1", "24:0:0"),
            ("x/1/1", "0:0:0"),
        ] {
            assert_eq!(moment(day, time), None, "{day} {time}");
        }
    }

    #[test]
    fn what_is_broken_costs_one_lease() {
        let text = "lease 192.0.2.1 {\n ends 0 soon;\n}\nlease 192.0.2.300 { ends never; }\n\
                    lease 192.0.2.2 {\n  binding state active;\n  uid \"a\"\n}\n\
                    lease 192.0.2.3 {\n  starts 6 2026/11/28 1:2:3\nlease 192.0.2.4 { binding state free; }\n\
                    lease 192.0.2.5 {\n  cltt 6 20";
        let told: Vec<String> = parse(text.as_bytes())
            .items
            .iter()
            .map(|item| match item {
                Item::Lease(address, lease) => format!("{address} {}", lease.state),
                Item::Broken(line, address, why) => format!("{line} {address:?} {why}"),
            })
            .collect();
        assert_eq!(
            told,
            [
                "1 Some(192.0.2.1) '0' 'soon' is no date (line 2)",
                "4 None 192.0.2.300 is no IPv4 address",
                "5 Some(192.0.2.2) ';' is missing before line 8",
                "9 Some(192.0.2.3) it is cut off at line 10",
                "192.0.2.4 free",
                "12 Some(192.0.2.5) the file ends within it",
            ]
        );
    }

    #[test]
    fn other_declarations_are_counted_and_passed_over() {
        let text = "# a comment\nauthoring-byte-order little-endian;\nserver-duid \"\\000\\001\";\n\
                    host printer {\n  dynamic;\n  hardware ethernet 02:00:00:00:00:01;\n}\n\
                    failover peer \"dhcp\" state {\n  my state normal at 5 2026/11/27 10:00:00;\n}\n\
                    ia-na \"\\001\" {\n  iaaddr 2001:db8::1 {\n    binding state active;\n  }\n}\n\
                    lease 192.0.2.1 {\n  on expiry { set a = \"}\"; if 1 = 1 { } }\n  ends never;\n}\n";
        let content = parse(text.as_bytes());
        let counts: Vec<_> = content.passed_over.into_iter().collect();
        assert_eq!(counts, [("DHCPv6 binding", 1), ("failover state", 1), ("host declaration", 1)]);
        let [Item::Lease(_, lease)] = &content.items[..] else { panic!("{:?}", content.items) };
        assert_eq!((lease.ends, lease.line), (Some(NEVER), 16));
    }

    #[test]
    fn values_come_in_several_forms() {
        let Item::Lease(_, lease) = only(
            "lease 192.0.2.1 { uid 01:52:54:00:00:00:01; client-hostname \"a b\"; cltt epoch 1795921667; # Sun\n\
             set ddns-fwd-name = \"a.example.org\"; set vendor-class-identifier = \"x\"; next binding state free;\n\
             option agent.circuit-id 0:4:0:1; bootp; reserved; hardware ethernet 52:54:0:0:0:1; }",
        ) else {
            panic!("broken")
        };
        assert_eq!(lease.uid, Some(vec![1, 0x52, 0x54, 0, 0, 0, 1]));
        assert_eq!((lease.hostname.as_deref(), lease.cltt), (Some("a b"), Some(1_795_921_667)));
        assert_eq!(lease.fwd_name.as_deref(), Some("a.example.org"));
        assert!(lease.bootp && lease.reserved && lease.relayed && lease.state.is_empty());
        assert_eq!(lease.hardware.as_deref(), Some("52:54:0:0:0:1"));
    }

    #[test]
    fn bytes_that_make_no_sense_are_no_trouble() {
        for text in [
            "lease",
            "lease {",
            "}",
            "{{{",
            "\"",
            "lease 192.0.2.1 { on x {",
            "= = ;",
            "lease 1 ; ;",
        ] {
            parse(text.as_bytes());
        }
        let sample = include_bytes!("../testdata/basic.leases");
        for cut in 0..sample.len() {
            parse(&sample[..cut]);
        }
    }
}
