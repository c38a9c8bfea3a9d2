//! Changes of a part of the configuration through the dispatcher: from the request to the version.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::backend::Backend;
use super::dispatch::Dispatcher;
use super::envelope::{Request, Target};
use super::spec::{Caller, Reply};
use super::testing::Fake;
use crate::state::{Body, ConfigVersion, ConfigWhy};

async fn ask(dispatcher: &Dispatcher, command: &str, arguments: Value) -> Reply {
    let request = Request {
        command: command.to_owned(),
        arguments: Some(Arc::new(arguments)),
        targets: vec![Target::Dhcp4],
    };
    dispatcher.answer(&request, &Caller::anybody("unix")).await.remove(0)
}

fn subnet(id: u32, noise: usize) -> Value {
    let noise = "x".repeat(noise);
    let prefix = format!("10.{}.{}.0/24", id >> 8, id & 0xff);
    json!({ "subnet4": [{ "id": id, "subnet": prefix, "user-context": { "noise": noise } }] })
}

#[tokio::test]
async fn a_refused_change_costs_no_log_entry() {
    let fake = Fake::new();
    let dispatcher = Dispatcher::new(fake.clone());
    let before = fake.state().read().applied();
    let reply = ask(&dispatcher, "subnet4-add", subnet(10, 0)).await;
    assert_eq!(reply.text.as_deref(), Some("ID of the new IPv4 subnet '10' is already in use"));
    let reply = ask(&dispatcher, "subnet4-del", json!({ "id": 20, "expected-version": 7 })).await;
    assert!(reply.text.unwrap().starts_with("Nothing was changed: configuration 1 is in force"));
    assert_eq!(fake.state().read().applied(), before);
}

#[tokio::test]
async fn r25_when_too_much_lies_behind_a_text_the_next_change_comes_as_one() {
    let fake = Fake::new();
    let dispatcher = Dispatcher::new(fake.clone());
    for id in 100..110 {
        let reply = ask(&dispatcher, "subnet4-add", subnet(id, 20_000)).await;
        assert_eq!(reply.text.as_deref(), Some("IPv4 subnet added"), "{id}");
        assert!(reply.arguments.unwrap().contains(&format!("\"id\":{id}")));
    }
    let state = fake.state().read();
    let meta = state.view().meta();
    assert_eq!(meta.config_version(), ConfigVersion(11));
    let texts = meta.history().filter(|version| matches!(version.body, Body::Text(_))).count();
    assert!((3..=5).contains(&texts), "{texts}");
    let is_change = |why| matches!(why, ConfigWhy::Edit(_));
    assert!(meta.history().skip(1).all(|version| is_change(version.note.why)));
    assert_eq!(meta.config().unwrap().subnets.len(), 12);
    state.check().unwrap();
}

#[tokio::test]
async fn what_is_not_known_is_not_told_as_done() {
    let fake = Fake::new();
    let dispatcher = Dispatcher::new(fake.clone());
    fake.silent.store(true, Ordering::Relaxed);
    let reply = ask(&dispatcher, "subnet4-add", subnet(30, 0)).await;
    assert!(reply.text.unwrap().starts_with("The outcome is unknown"));
    fake.silent.store(false, Ordering::Relaxed);
    *fake.inactive.lock() = Some("port 67 is taken".into());
    let reply = ask(&dispatcher, "subnet4-add", subnet(30, 0)).await;
    let text = reply.text.unwrap();
    assert!(text.contains("committed as version 2") && text.contains("port 67 is taken"), "{text}");
}
