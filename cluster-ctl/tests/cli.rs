//! The program as an operator meets it, without a cluster: what it says when nothing answers.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output};
use std::thread::JoinHandle;

use serde_json::{Value, json};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cluster-ctl"))
        .env_remove("LEASEHOLD_NODE")
        .env_remove("LEASEHOLD_USER")
        .env_remove("LEASEHOLD_PASSWORD")
        .env_remove("LEASEHOLD_PASSWORD_FILE")
        .env_remove("LEASEHOLD_CACERT")
        .args(arguments)
        .output()
        .expect("the program starts")
}

/// A node that answers one request with `reply`; the thread returns the request.
fn node(reply: Value) -> (String, JoinHandle<Value>) {
    let (url, answering) = http_node("200 OK", json!([reply]));
    let body = |(_, body): (String, String)| serde_json::from_str(&body).expect("JSON");
    (url, std::thread::spawn(move || body(answering.join().expect("it answered"))))
}

/// A node that gives one HTTP answer; the thread returns the head and the body of the request.
fn http_node(status: &'static str, answer: Value) -> (String, JoinHandle<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("somebody calls");
        let mut got = Vec::new();
        let request = loop {
            let mut piece = [0; 4096];
            let read = stream.read(&mut piece).expect("a request");
            got.extend_from_slice(&piece[..read]);
            let text = String::from_utf8_lossy(&got).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                let wanted = name.eq_ignore_ascii_case("content-length");
                wanted.then(|| value.trim().parse::<usize>().ok())?
            });
            if body.len() >= length.expect("a length") {
                break (head.to_owned(), body.to_owned());
            }
        };
        let reply = answer.to_string();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            reply.len()
        );
        stream.write_all((head + &reply).as_bytes()).expect("it reads");
        request
    });
    (url, answering)
}

#[test]
fn files_are_sent_as_they_are_and_mistakes_come_back_with_their_places() {
    let dir = std::env::temp_dir().join(format!("cluster-ctl-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let (outer, inner) = (dir.join("kea.conf"), dir.join("subnets.conf"));
    std::fs::write(&inner, "[ # ours\n { \"id\": 1, \"subnet\": \"x\" } ]").expect("written");
    let text = format!(
        "{{ \"Dhcp4\": {{\n  \"subnet4\": <?include {:?}?>,\n  \"BOGUS\": 1 }} }} // end\n",
        inner.display().to_string()
    );
    std::fs::write(&outer, &text).expect("written");
    let told = "bad subnet (document:3:23)\nbad keyword (document:5:3)";
    let (url, answering) = node(json!({"result": 1, "text": told}));
    let outer = outer.display().to_string();
    let output = run(&["--node", &url, "config", "set", &outer, "-m", "why", "--expected", "4"]);
    let request = answering.join().expect("the node answered");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains(&format!("bad subnet ({}:2:23)", inner.display())), "{error}");
    assert!(error.contains(&format!("bad keyword ({outer}:3:3)")), "{error}");
    assert_eq!(request["command"], "config-set");
    let arguments = &request["arguments"];
    assert_eq!((&arguments["comment"], &arguments["expected-version"]), (&json!("why"), &json!(4)));
    assert!(arguments["author"].as_str().is_some_and(|author| author.contains('@')), "{arguments}");
    let sent = arguments["document"].as_str().expect("a text");
    assert!(sent.contains("# ours") && sent.ends_with("// end\n"), "{sent}");
    std::fs::remove_dir_all(&dir).expect("removed");
}

#[test]
fn versions_are_listed_compared_and_gone_back_to() {
    let version = json!({"version": 3, "time": 1_795_470_000, "author": "bob@desk through rack-b", "reason": "set",
        "comment": "", "hash": "36ABB256EFA39CC1", "sha256": "96", "form": "kea", "size": 106});
    let (url, answering) =
        node(json!({"result": 0, "arguments": {"current": 3, "versions": [version]}}));
    let output = run(&["--node", &url, "config", "history"]);
    assert_eq!(answering.join().expect("answered")["command"], "config-history");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("3*") && text.contains("bob@desk") && text.contains("* in force"),
        "{text}"
    );

    let diff =
        json!({"from": 2, "to": 3, "of": "source", "diff": "--- version 2\n", "truncated": false});
    let (url, answering) = node(json!({"result": 0, "text": "", "arguments": diff}));
    let output = run(&["--node", &url, "config", "diff", "2", "--source", "--local"]);
    let request = answering.join().expect("answered");
    assert_eq!(request["arguments"], json!({"from": 2, "of": "source", "consistency": "local"}));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "--- version 2\n");

    let refused =
        "Nothing was changed: configuration 5 is in force, and the change expects another.";
    let (url, answering) = node(json!({"result": 4, "text": refused}));
    let output = run(&["--node", &url, "-o", "json", "config", "rollback", "2", "--expected", "4"]);
    let request = answering.join().expect("answered");
    assert_eq!(request["command"], "config-rollback");
    assert_eq!(request["arguments"]["version"], 2);
    let error: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(error, json!({"error": refused, "kind": "refused"}));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_node_that_does_not_answer_is_named_and_the_exit_status_is_2() {
    // Port 1 of loopback refuses at once.
    let output = run(&["--node", "http://127.0.0.1:1", "status"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("127.0.0.1:1"), "{text}");
}

#[test]
fn a_failure_is_json_where_json_was_asked_for() {
    for (arguments, status, kind) in [
        (&["--node", "http://127.0.0.1:1", "status"][..], 2, "unreachable"),
        (&["--node", "ftp://127.0.0.1:1", "status"][..], 2, "usage"),
        (&["--node", "http://127.0.0.1:1", "config", "set", "/no/such/file"][..], 2, "usage"),
    ] {
        let output = run(&[arguments, &["-o", "json"]].concat());
        let text = String::from_utf8_lossy(&output.stdout);
        let error: serde_json::Value = serde_json::from_str(&text).expect("one JSON value");
        assert_eq!(error["kind"], kind, "{text}");
        assert!(!error["error"].as_str().unwrap_or_default().is_empty(), "{text}");
        assert_eq!(output.status.code(), Some(status), "{text}");
        assert!(output.stderr.is_empty());
    }
}

#[test]
fn the_commands_about_versions_are_there() {
    let output = run(&["config", "--help"]);
    let text = String::from_utf8_lossy(&output.stdout);
    for command in ["get", "set", "test", "history", "show", "diff", "rollback"] {
        assert!(text.contains(command), "{command} not in {text}");
    }
}

#[test]
fn help_names_every_command_of_the_readme() {
    let output = run(&["--help"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success());
    for command in ["status", "leader", "lease", "config", "health", "watch", "alarms", "debug"] {
        assert!(text.contains(command), "{command} not in {text}");
    }
}

#[test]
fn users_come_with_a_password_that_is_no_argument() {
    let dir = std::env::temp_dir().join(format!("cluster-ctl-access-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let file = dir.join("password");
    std::fs::write(&file, "pass:word\n").expect("written");
    let file = file.display().to_string();
    let refused = json!({"result": 401, "text": "Unauthorized"});
    for (arguments, sent, told) in [
        (&[][..], None, "--user NAME and --password-file"),
        (&["--user", "admin", "--password-file", &file], Some("admin:pass:word"), "does not know"),
        // The file alone has both.
        (&["--password-file", &file], Some("pass:word"), "does not know"),
    ] {
        let (url, answering) = http_node("401 Unauthorized", refused.clone());
        let output = run(&[&["--node", &url, "status"], arguments].concat());
        let (head, _) = answering.join().expect("answered");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(told) && !error.contains("pass:word"), "{error}");
        assert_eq!(output.status.code(), Some(1), "{error}");
        let head = head.to_lowercase();
        let header = head.lines().find_map(|line| line.strip_prefix("authorization: basic "));
        // "admin:pass:word" and "pass:word" in base64, in small letters.
        let encoded = sent.map(|sent| match sent {
            "pass:word" => "cgfzczp3b3jk",
            _ => "ywrtaw46cgfzczp3b3jk",
        });
        assert_eq!(header, encoded, "{head}");
    }
    let (url, answering) = http_node("403 Forbidden", json!({"result": 403, "text": "Forbidden"}));
    let output = run(&["--node", &url, "lease", "delete", "192.0.2.1"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("change nothing"), "{error}");
    assert_eq!(output.status.code(), Some(1), "{error}");
    answering.join().expect("answered");
    for arguments in [
        &["--user", "admin", "status"][..],
        &["--cert", &file, "--key", &file, "status"],
        &["--cacert", &file, "status"],
        &["--cacert", "/no/such/file", "status"],
    ] {
        let output = run(&[&["--node", "http://127.0.0.1:1"], arguments].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(!error.contains("pass:word") && !error.contains("no node answers"), "{error}");
    }
    std::fs::remove_dir_all(&dir).expect("removed");
}

#[test]
fn a_mistake_in_the_command_line_is_json_where_that_is_asked_for() {
    let output = run(&["-o", "json", "status", "--nonsense"]);
    assert_eq!(output.status.code(), Some(2));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["kind"], "usage");
    assert!(told["error"].as_str().unwrap().contains("--nonsense"), "{told}");
    let help = run(&["-o", "json", "--help"]);
    assert!(help.status.success() && help.stdout.starts_with(b"The operator"));
}
