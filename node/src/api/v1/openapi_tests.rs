//! `docs/reference/openapi.json` is what the routes say of themselves, and each of its paths is served.

use serde_json::{Map, Value, json};

use super::{APPLIED_INDEX, Parameter, ROUTES, Route, Takes};
use crate::api::spec::Access;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/openapi.json");

#[test]
fn the_openapi_file_is_that_of_the_routes() {
    let text = format!("{:#}\n", document());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(std::path::Path::new(FILE).parent().unwrap()).unwrap();
        std::fs::write(FILE, &text).unwrap();
    }
    let stored = std::fs::read_to_string(FILE).unwrap_or_default();
    assert!(text == stored, "docs/reference/openapi.json is stale; run the test with UPDATE=1");
}

/// Every `$ref` leads somewhere, every path that the server has is described, and nothing else.
#[tokio::test]
async fn what_is_described_is_served() {
    let document = document();
    let text = document.to_string();
    for part in text.split("\"$ref\":\"#").skip(1) {
        let pointer = part.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
    let server = crate::api::tests::server(crate::api::Limits::default()).await;
    let paths = document["paths"].as_object().unwrap();
    for (path, methods) in paths {
        if methods.get("get").is_some() && !path.contains("events") {
            assert_eq!(server.get(path).await.0, 200, "{path}");
        }
    }
    assert_eq!(server.get("/v1/nothing").await.0, 404);
    assert!(ROUTES.iter().all(|route| paths.contains_key(route.path)));
}

fn document() -> Value {
    let mut paths = Map::new();
    paths.insert("/".into(), commands());
    for (path, about, kind, unready) in PAGES {
        let mut answers = json!({ "200": { "description": "Yes", "content": { *kind: {} } } });
        if *unready {
            answers["503"] =
                json!({ "description": "No; the text says why", "content": { *kind: {} } });
        }
        paths.insert((*path).into(), json!({ "get": { "summary": about, "responses": answers } }));
    }
    for route in ROUTES {
        paths.insert(route.path.into(), json!({ "get": described(route) }));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Leasehold control API",
            "version": "1",
            "summary": "Every node of a cluster answers all of it.",
            "description": "Kea's commands by POST, and what goes beyond them by GET. The commands and their \
                            arguments are in docs/reference/commands.md.",
            "license": { "name": env!("CARGO_PKG_LICENSE") }
        },
        "servers": [{ "url": "http://127.0.0.1:8000" }],
        "security": [{}, { "basic": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "basic": { "type": "http", "scheme": "basic" } },
            "schemas": schemas()
        }
    })
}

/// What is served beside the commands and the routes: path, meaning, media type, whether it can say no.
const PAGES: &[(&str, &str, &str, bool)] = &[
    ("/health/live", "Whether the process runs.", "text/plain", false),
    (
        "/health/ready",
        "Whether this node answers DHCP clients: it hears a leader, has caught up and has its sockets open.",
        "text/plain",
        true,
    ),
    ("/metrics", "Counters and gauges for Prometheus.", "application/openmetrics-text", false),
];

fn commands() -> Value {
    json!({ "post": {
        "summary": "Kea's commands. Any path will do.",
        "requestBody": {
            "required": true,
            "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Command" } } }
        },
        "responses": {
            "200": {
                "description": "One reply for each service that was asked, whether the command succeeded or not",
                "content": { "application/json": { "schema": {
                    "type": "array", "items": { "$ref": "#/components/schemas/Reply" }
                } } }
            },
            "default": failure()
        }
    } })
}

fn described(route: &Route) -> Value {
    let schema =
        |name: &str| json!({ "schema": { "$ref": format!("#/components/schemas/{name}") } });
    let content: Map<String, Value> =
        route.produces.iter().map(|(kind, name)| ((*kind).to_owned(), schema(name))).collect();
    let parameters: Vec<Value> = route.parameters.iter().map(parameter).collect();
    let mut answer = json!({ "description": "The answer", "content": content });
    // A stream goes on: each of its events names its own place.
    if !content.contains_key("text/event-stream") {
        answer["headers"] = json!({ APPLIED_INDEX: {
            "description": "The applied index that the answer is made from",
            "schema": { "type": "integer" }
        } });
    }
    json!({
        "summary": route.about,
        "x-permission": match route.access { Access::Read => "read", Access::Write => "write" },
        "parameters": parameters,
        "responses": { "200": answer, "default": failure() }
    })
}

fn parameter(parameter: &Parameter) -> Value {
    let schema = match parameter.takes {
        Takes::Text => json!({ "type": "string" }),
        Takes::Number => json!({ "type": "integer", "minimum": 0 }),
        Takes::Word(words) => json!({ "type": "string", "enum": words }),
    };
    json!({ "name": parameter.name, "in": "query", "description": parameter.about, "schema": schema })
}

fn failure() -> Value {
    json!({
        "description": "Not done; the text says why",
        "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Failure" } } }
    })
}

/// The shapes that [`Route::produces`] names, and those of the commands.
fn schemas() -> Value {
    let text = |about: &str| json!({ "type": "string", "description": about });
    let whole = |about: &str| json!({ "type": "integer", "description": about });
    let truth = |about: &str| json!({ "type": "boolean", "description": about });
    json!({
        "Command": {
            "type": "object",
            "required": ["command"],
            "properties": {
                "command": text("The name; `list-commands` returns all"),
                "service": { "type": "array", "items": { "type": "string" },
                             "description": "`dhcp4`; absent means that" },
                "arguments": { "description": "What the command takes, usually a map" }
            }
        },
        "Reply": {
            "type": "object",
            "required": ["result"],
            "properties": {
                "result": { "type": "integer", "enum": [0, 1, 2, 3, 4, 5],
                            "description": "0 success, 1 error, 2 not supported, 3 empty, 4 conflict, 5 fatal" },
                "text": text("Always there unless the result is 0"),
                "arguments": { "description": "What the command returns" }
            }
        },
        "Failure": {
            "type": "object",
            "required": ["result", "text"],
            "properties": { "result": whole("The HTTP status"), "text": text("What is wrong and what to do") }
        },
        "Lease4": {
            "type": "object",
            "description": "A lease as Kea shows it",
            "required": ["cltt", "fqdn-fwd", "fqdn-rev", "hostname", "hw-address", "ip-address", "state",
                         "subnet-id", "valid-lft"],
            "properties": {
                "client-id": text("Hexadecimal; absent when the client sent none"),
                "cltt": whole("When the client was last heard, Unix seconds; the end is this plus valid-lft"),
                "fqdn-fwd": truth("Whether there is a forward DNS record"),
                "fqdn-rev": truth("Whether there is a reverse DNS record"),
                "hostname": text("Lower case; empty for none"),
                "hw-address": text("Hexadecimal; empty when unknown"),
                "ip-address": { "type": "string", "format": "ipv4" },
                "pool-id": whole("Absent when it is 0"),
                "state": { "type": "integer", "enum": [0, 1, 2, 3],
                           "description": "0 assigned, 1 declined, 2 expired and reclaimed, 3 released" },
                "subnet-id": whole("The subnet it was granted in"),
                "user-context": { "type": "object" },
                "valid-lft": whole("Lifetime in seconds; 4294967295 for ever")
            }
        },
        "Event": {
            "type": "object",
            "description": "The data of one event; its id is the position, its type the kind. Beside these there are \
                            `gap` (data: `from`, `to`, positions between which this node has no history) and `end` \
                            (data: `text`), after which the stream ends",
            "required": ["cluster-millis", "kind", "position", "time"],
            "properties": {
                "client-id": text("Hexadecimal; absent when there was none"),
                "cluster-millis": whole("The moment on the cluster's lease clock, milliseconds"),
                "expire": whole("The end that the client was told last, Unix seconds; absent for never"),
                "generation": whole("Names the holding: renewals keep it"),
                "hostname": text("Lower case; empty for none"),
                "hw-address": text("Hexadecimal; empty when unknown"),
                "ip-address": { "type": "string", "format": "ipv4" },
                "kind": { "type": "string", "enum": crate::state::Kind::ALL.map(|kind| kind.name()) },
                "position": text("INDEX.OFFSET: the same on every node"),
                "state": whole("The lease's state: before the event, where it ended a lease"),
                "subnet-id": whole("The subnet it was granted in"),
                "time": whole("Unix seconds"),
                "valid-lft": whole("Lifetime in seconds; 4294967295 for ever"),
                "version": whole("The configuration that came into force; the others are absent then")
            }
        },
        "Backup": {
            "type": "string",
            "format": "binary",
            "description": "For cluster-ctl snapshot inspect, verify and restore. It ends with a checksum of all of it; an \
                            answer that broke off has none"
        },
        "Leases": {
            "type": "object",
            "required": ["applied-index", "leases", "count", "next"],
            "properties": {
                "applied-index": whole("The applied index that the answer is made from"),
                "leases": { "type": "array", "items": { "$ref": "#/components/schemas/Lease4" } },
                "count": whole("How many leases there are in the answer"),
                "next": { "type": ["string", "null"],
                          "description": "`after` of the next request; null when there are no more" }
            }
        }
    })
}
