//! `class-*`: reading and changing client classes (kea-api §2.6, §3.11; Kea's `class_cmds`).

use serde_json::{Value, json};

use super::config::running;
use super::edits::{self, AUTHOR, COMMENT, EXPECTED};
use crate::api::spec::Origin::ClassCmds;
use crate::api::spec::{
    ApiContext, Args, Argument, Code, Kind, Plan, Refusal, Reply, Spec, needed,
};
use crate::config::edit::Verb;

/// `class-list`.
pub const LIST: Spec = Spec::reads("class-list", ClassCmds, list)
    .about("Returns the names of all client classes, in the order of their evaluation.");
/// `class-get`.
pub const GET: Spec = Spec::reads("class-get", ClassCmds, get)
    .about("Returns one client class as `config-get` shows it.")
    .takes(&[NAME]);
/// `class-add`.
pub const ADD: Spec = Spec::writes("class-add", ClassCmds, add)
    .about("Adds a client class behind the others.")
    .takes(WHOLE);
/// `class-update`.
pub const UPDATE: Spec = Spec::writes("class-update", ClassCmds, update)
    .about("Replaces a client class in its place.")
    .takes(WHOLE);
/// `class-del`.
pub const DEL: Spec = Spec::writes("class-del", ClassCmds, del)
    .about("Removes a client class that no other one asks for.")
    .takes(&[NAME, EXPECTED, AUTHOR, COMMENT]);

const NAME: Argument = needed("name", Kind::Text, "The name of the class.");

const WHOLE: &[Argument] = &[
    needed("client-classes", Kind::List, "The class: the only entry of the list."),
    EXPECTED,
    AUTHOR,
    COMMENT,
];

fn list(_: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let config = running(cx)?;
    Ok(Plan::later(move || {
        let rows: Vec<Value> =
            config.classes.iter().map(|class| json!({ "name": *class.name })).collect();
        let plural = if rows.len() == 1 { "" } else { "es" };
        let text = format!("{} class{plural} found", rows.len());
        let code = if rows.is_empty() { Code::Empty } else { Code::Success };
        Ok(Plan::Answer(Reply::failure(code, text).with(&json!({ "client-classes": rows }))))
    }))
}

fn get(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let config = running(cx)?;
    let name = args.string("name")?.to_owned();
    Ok(Plan::later(move || {
        let missing = || Refusal::empty(format!("Class '{name}' not found"));
        let class = config.print_class(&name).ok_or_else(missing)?;
        let text = format!("Class '{name}' definition returned");
        let arguments = Some(format!("{{\"client-classes\":[{class}]}}"));
        Ok(Plan::Answer(Reply { arguments, ..Reply::success(text) }))
    }))
}

fn add(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    edits::plan(args, cx, Verb::ClassAdd, |changed| {
        Reply::success(format!("Class '{}' added", changed.name))
    })
}

fn update(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    edits::plan(args, cx, Verb::ClassUpdate, |changed| {
        Reply::success(format!("Class '{}' updated", changed.name))
    })
}

fn del(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    edits::plan(args, cx, Verb::ClassDel, |changed| {
        Reply::success(format!("Class '{}' deleted", changed.name))
    })
}
