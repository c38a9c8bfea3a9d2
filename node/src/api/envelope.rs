//! The envelope of a request: `command`, `arguments`, `service`, `remote-address`, and who is to
//! answer (kea-api §1.5, §1.6). Pure.

use std::sync::Arc;

use serde_json::Value;

use super::json::type_name;
use super::spec::{Code, Reply};

/// A request that can be dispatched.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// `command`.
    pub command: String,
    /// `arguments`.
    pub arguments: Option<Arc<Value>>,
    /// Whom it is for, one reply each.
    pub targets: Vec<Target>,
}

/// One entry of `service`, or its absence.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// This daemon.
    Dhcp4,
    /// Nobody here; the reply says so.
    Nobody(Reply),
}

/// Where a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Replies are lists, `service` counts.
    Http,
    /// The reply is a map, `service` is ignored.
    Unix,
}

/// The name of our service.
const SERVICE: &str = "dhcp4";

/// Takes the envelope off. `Err` is the reply to a bad one.
pub fn open(document: Value, transport: Transport) -> Result<Request, Reply> {
    let Value::Object(mut members) = document else {
        let got = type_name(&document);
        return Err(bad(format!("expected toplevel entry to be a map, got {got} instead")));
    };
    let command = match members.get("command") {
        None => return Err(bad("does not contain mandatory 'command'".to_owned())),
        Some(Value::String(command)) => command.clone(),
        Some(other) => {
            let got = type_name(other);
            return Err(bad(format!("expected 'command' to be a string, got {got} instead")));
        }
    };
    let known = ["command", "arguments", "service", "remote-address"];
    if let Some(unknown) = members.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(bad(format!("unsupported parameter '{unknown}'")));
    }
    let targets = match (transport, members.get("service")) {
        (Transport::Unix, _) | (_, None) => vec![Target::Dhcp4],
        (Transport::Http, Some(service)) => targets(service)?,
    };
    let arguments = members.swap_remove("arguments").map(Arc::new);
    Ok(Request { command, arguments, targets })
}

/// Who is meant by `service`. One entry is answered as Kea 3's daemon answers, several as the
/// Control Agent does.
fn targets(service: &Value) -> Result<Vec<Target>, Reply> {
    let refuse = |text: String| Reply::failure(Code::Error, text);
    let Value::Array(list) = service else {
        return Err(refuse("service value must be a list".to_owned()));
    };
    if list.len() > MOST_SERVICES {
        return Err(refuse(format!("service value has more than {MOST_SERVICES} items")));
    }
    let mut names = Vec::with_capacity(list.len());
    for name in list {
        names
            .push(name.as_str().ok_or_else(|| refuse("service name must be a string".to_owned()))?);
    }
    let count = names.len();
    let target = |name: &str| match (name, count) {
        (SERVICE, _) => Target::Dhcp4,
        (_, 1) => {
            Target::Nobody(refuse(format!("unsupported service '{name}', expected '{SERVICE}'")))
        }
        _ => Target::Nobody(refuse(format!(
            "forwarding socket is not configured for the server type {name}"
        ))),
    };
    if names.is_empty() {
        return Ok(vec![Target::Dhcp4]);
    }
    Ok(names.into_iter().map(target).collect())
}

/// One request must not become thousands of answers.
const MOST_SERVICES: usize = 8;

fn bad(text: String) -> Reply {
    Reply::failure(Code::Error, format!("Error during command processing: invalid command: {text}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text_of(document: Value) -> String {
        open(document, Transport::Http).unwrap_err().text.unwrap()
    }

    #[test]
    fn mistakes_in_the_envelope_are_told_in_the_words_of_kea_3() {
        let prefix = "Error during command processing: invalid command: ";
        for (document, text) in [
            (json!([]), "expected toplevel entry to be a map, got list instead"),
            (json!(1), "expected toplevel entry to be a map, got integer instead"),
            (json!({}), "does not contain mandatory 'command'"),
            (json!({"command": 1}), "expected 'command' to be a string, got integer instead"),
            (json!({"command": "a", "foo": 1}), "unsupported parameter 'foo'"),
        ] {
            assert_eq!(text_of(document), format!("{prefix}{text}"));
        }
    }

    #[test]
    fn one_service_is_answered_as_the_daemon_and_several_as_the_agent() {
        let ask = |service: Value| {
            open(json!({"command": "x", "service": service}), Transport::Http)
                .map(|request| request.targets)
        };
        assert_eq!(ask(json!([])).unwrap(), [Target::Dhcp4]);
        assert_eq!(ask(json!(["dhcp4"])).unwrap(), [Target::Dhcp4]);
        let nobody = |text: &str| Target::Nobody(Reply::failure(Code::Error, text));
        assert_eq!(
            ask(json!(["d2"])).unwrap(),
            [nobody("unsupported service 'd2', expected 'dhcp4'")]
        );
        assert_eq!(
            ask(json!(["dhcp4", "d2"])).unwrap(),
            [Target::Dhcp4, nobody("forwarding socket is not configured for the server type d2")]
        );
        assert_eq!(ask(json!("dhcp4")).unwrap_err().text.unwrap(), "service value must be a list");
        assert_eq!(ask(json!([4])).unwrap_err().text.unwrap(), "service name must be a string");
    }

    #[test]
    fn the_unix_socket_ignores_the_service() {
        let request = open(json!({"command": "x", "service": 7}), Transport::Unix).unwrap();
        assert_eq!(request.targets, [Target::Dhcp4]);
    }
}
