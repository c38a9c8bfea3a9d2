//! `cluster-token-*`: the secrets with which new nodes join. The cluster keeps a digest; the secret is
//! shown once, to whoever had it made.

use std::time::Duration;

use serde::Serialize;

use crate::api::backend::{Acted, Effect, NewToken};
use crate::api::spec::Origin::Leasehold;
use crate::api::spec::{
    ApiContext, Args, Argument, Code, Kind, Plan, Refusal, Reply, Spec, needed, optional,
};
use crate::state::{Command, JoinToken, Meta, Outcome};

/// `cluster-token-create`.
pub const CREATE: Spec = Spec::writes("cluster-token-create", Leasehold, create)
    .about("Makes a token with which new nodes join. Its secret is shown in this answer and never again.")
    .takes(ARGUMENTS);

/// `cluster-token-list`.
pub const LIST: Spec = Spec::reads("cluster-token-list", Leasehold, list)
    .about("Returns the tokens with which new nodes can join, without their secrets.");

/// `cluster-token-revoke`.
pub const REVOKE: Spec = Spec::writes("cluster-token-revoke", Leasehold, revoke)
    .about("Revokes a token: nobody joins with it any more. Nodes that have joined stay.")
    .takes(&[needed("id", Kind::Integer, "The token's id.")]);

/// What a new token can be told to be.
pub(super) const ARGUMENTS: &[Argument] = &[
    optional(
        "expires-in",
        Kind::Integer,
        "Seconds until it lets nobody in; 3600 by default, 30 days at most.",
    ),
    optional("uses", Kind::Integer, "How many nodes it lets in; 1 by default, 64 at most."),
    optional(
        "learner",
        Kind::Boolean,
        "Whether those who come with it never get a vote by themselves.",
    ),
    optional("note", Kind::Text, "What it is for."),
];

const HOUR: i64 = 3_600;
const LONGEST: i64 = 30 * 24 * HOUR;
const MOST_USES: i64 = 64;
const LONGEST_NOTE: usize = 255;

/// Reads [`ARGUMENTS`].
pub(super) struct NewTokenArgs;

impl NewTokenArgs {
    pub(super) fn read(args: &Args<'_>, _: &ApiContext<'_>) -> Result<NewToken, Refusal> {
        let within = |name: &str, default: i64, most: i64| match args.integer_or(name)? {
            None => Ok(default),
            Some(number) if (1..=most).contains(&number) => Ok(number),
            Some(number) => {
                Err(Refusal::error(format!("'{name}' is from 1 to {most}, not {number}")))
            }
        };
        let seconds = within("expires-in", HOUR, LONGEST)?;
        let uses = within("uses", 1, MOST_USES)?;
        let note = args.string_or("note")?.unwrap_or_default();
        if note.len() > LONGEST_NOTE {
            return Err(Refusal::error(format!("'note' has at most {LONGEST_NOTE} bytes")));
        }
        Ok(NewToken {
            lasts: Duration::from_secs(seconds.unsigned_abs()),
            uses: u32::try_from(uses).unwrap_or(1),
            learner: args.boolean_or("learner")?.unwrap_or(false),
            note: note.to_owned(),
        })
    }
}

fn create(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let new = NewTokenArgs::read(args, cx)?;
    Ok(Plan::effect(Effect::CreateToken(new), |acted| created(acted, None)))
}

/// The answer with the secret, and the settings of the node that is to use it.
pub(super) fn created(acted: Result<Acted, String>, settings: Option<String>) -> Reply {
    match acted {
        Ok(Acted::Token { id, token, lasts, uses }) => {
            let nodes = if uses == 1 { "one node".to_owned() } else { format!("{uses} nodes") };
            let mut arguments = serde_json::json!({
                "id": id, "secret": token.reveal(), "expires-in": lasts.as_secs(), "uses": uses,
            });
            if let Some(settings) = settings {
                arguments["settings"] = settings.into();
            }
            Reply::success(format!(
                "Token {id} lets in {nodes} within {}. Its secret is not shown again.",
                span(lasts.as_secs())
            ))
            .with(&arguments)
        }
        Ok(Acted::Unknown(why)) => {
            Reply::failure(Code::Error, format!("It is not known whether a token was made: {why}."))
        }
        Ok(_) => Reply::success("A token was made."),
        Err(why) => Reply::failure(Code::Error, format!("No token was made: {why}.")),
    }
}

fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} seconds"),
        120..7_200 => format!("{} minutes", seconds / 60),
        _ => format!("{} hours", seconds / 3_600),
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Token<'a> {
    id: u64,
    /// Unix seconds.
    expires: i64,
    expired: bool,
    /// How many nodes it still lets in.
    uses: u32,
    learner: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    note: &'a str,
}

fn list(_: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let meta = cx.view.meta();
    let tokens: Vec<Token<'_>> = meta.roster().tokens().map(|token| shown(token, meta)).collect();
    if tokens.is_empty() {
        return Err(Refusal::empty("0 token(s) found."));
    }
    let text = format!("{} token(s) found.", tokens.len());
    Ok(Plan::Answer(Reply::success(text).with(&serde_json::json!({ "tokens": tokens }))))
}

fn shown<'a>(token: &'a JoinToken, meta: &Meta) -> Token<'a> {
    Token {
        id: token.id,
        expires: meta.wall_seconds(token.not_after),
        expired: token.not_after < meta.now(),
        uses: token.uses,
        learner: token.learner,
        note: &token.note,
    }
}

fn revoke(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let Some(id) = args.integer_or("id")? else {
        return Err(Refusal::error("missing parameter 'id'"));
    };
    let id = u64::try_from(id).unwrap_or(0);
    if !cx.view.meta().roster().tokens().any(|token| token.id == id) {
        return Err(Refusal::empty(format!("there is no token {id}")));
    }
    Ok(Plan::commit(Command::RemoveToken(id), move |outcome| match outcome {
        Outcome::Noted => Reply::success(format!("Token {id} is revoked.")),
        Outcome::NotYet(level) => not_yet(*level),
        other => Reply::failure(Code::Error, format!("The token was not revoked: {other:?}.")),
    }))
}

/// The cluster cannot read such a command yet (R24).
pub(super) fn not_yet(level: u32) -> Reply {
    Reply::failure(
        Code::Conflict,
        format!(
            "The cluster works at a feature level below {level}, as before its upgrade. When every node runs the new \
             version, raise it with cluster-upgrade-finalize."
        ),
    )
}
