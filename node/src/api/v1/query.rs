//! The query of a request: what a route takes, checked before its handler sees it. Pure.

/// One parameter of a route.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it must be.
    pub takes: Takes,
    /// What it means; units and defaults.
    pub about: &'static str,
}

/// What a parameter must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Any text.
    Text,
    /// A whole number, 0 to 2⁶³ − 1.
    Number,
    /// One of these words.
    Word(&'static [&'static str]),
}

/// A parameter.
pub const fn parameter(name: &'static str, takes: Takes, about: &'static str) -> Parameter {
    Parameter { name, takes, about }
}

/// A query that cannot be answered; the text says why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad(pub String);

/// The parameters of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query(Vec<(&'static str, String)>);

impl Query {
    /// Reads what stands behind the `?`. A parameter that the route does not know is an error, as is one
    /// that stands there twice: a filter with a slip in its name would answer with everything.
    pub fn parse(text: &str, known: &[Parameter]) -> Result<Query, Bad> {
        let mut query = Query::default();
        for part in text.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (name, value) = (decoded(name)?, decoded(value)?);
            let Some(parameter) = known.iter().find(|parameter| parameter.name == name) else {
                let names: Vec<&str> = known.iter().map(|parameter| parameter.name).collect();
                let text =
                    format!("there is no parameter '{name}'; there are {}", names.join(", "));
                return Err(Bad(text));
            };
            if query.get(parameter.name).is_some() {
                return Err(Bad(format!("'{name}' stands there twice")));
            }
            check(parameter, &value)?;
            query.0.push((parameter.name, value));
        }
        Ok(query)
    }

    /// A parameter, if it is there.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| *own == name).map(|(_, value)| &**value)
    }

    /// A parameter that [`Takes::Number`].
    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name).and_then(|value| value.parse().ok())
    }
}

fn check(parameter: &Parameter, value: &str) -> Result<(), Bad> {
    let name = parameter.name;
    match parameter.takes {
        Takes::Text => Ok(()),
        Takes::Number if value.parse::<u64>().is_ok_and(|number| i64::try_from(number).is_ok()) => {
            Ok(())
        }
        Takes::Number => Err(Bad(format!("'{name}' must be a whole number, not '{value}'"))),
        Takes::Word(words) if words.contains(&value) => Ok(()),
        Takes::Word(words) => {
            Err(Bad(format!("'{name}' must be one of {}, not '{value}'", words.join(", "))))
        }
    }
}

/// Percent-encoding taken off (RFC 3986 §2.1); a plus is a blank, as forms have it.
fn decoded(text: &str) -> Result<String, Bad> {
    let bad = || Bad(format!("'{text}' is not percent-encoded UTF-8"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
                let (high, low) = (digit().ok_or_else(bad)?, digit().ok_or_else(bad)?);
                u8::try_from(high << 4 | low).map_err(|_| bad())?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Parameter] = &[
        parameter("name", Takes::Text, ""),
        parameter("limit", Takes::Number, ""),
        parameter("format", Takes::Word(&["json", "ndjson"]), ""),
    ];

    #[test]
    fn parameters_are_decoded_and_checked() {
        let query = Query::parse("name=a%2Cb+c%c3%a9&limit=5&&format=json", KNOWN).unwrap();
        assert_eq!(query.get("name"), Some("a,b cé"));
        assert_eq!((query.number("limit"), query.get("format")), (Some(5), Some("json")));
        assert_eq!(Query::parse("name", KNOWN).unwrap().get("name"), Some(""));
        assert_eq!(Query::parse("", KNOWN), Ok(Query::default()));
        for (text, why) in [
            ("nmae=a", "there is no parameter 'nmae'; there are name, limit, format"),
            ("name=a&name=b", "'name' stands there twice"),
            ("limit=-1", "'limit' must be a whole number, not '-1'"),
            (
                "limit=9223372036854775808",
                "'limit' must be a whole number, not '9223372036854775808'",
            ),
            ("limit=", "'limit' must be a whole number, not ''"),
            ("format=xml", "'format' must be one of json, ndjson, not 'xml'"),
            ("name=%f", "'%f' is not percent-encoded UTF-8"),
            ("name=%zz", "'%zz' is not percent-encoded UTF-8"),
            ("name=%ff", "'%ff' is not percent-encoded UTF-8"),
        ] {
            assert_eq!(Query::parse(text, KNOWN), Err(Bad(why.into())), "{text}");
        }
    }
}
