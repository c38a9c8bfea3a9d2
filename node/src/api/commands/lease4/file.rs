//! `lease4-write`: the lease table as a file of Kea's memfile, with the columns of Kea 3.
//!
//! Other programs read it, and a Kea takes it as its lease file.

use std::fmt;
use std::io::{self, Write};

use super::print::{Lease4, Printer};
use crate::api::backend::Effect;
use crate::api::spec::Origin::LeaseCmds;
use crate::api::spec::{ApiContext, Args, Code, Kind, Plan, Refusal, Reply, Spec, needed};
use crate::state::Frozen;

/// `lease4-write`.
pub const WRITE: Spec = Spec::writes("lease4-write", LeaseCmds, write)
    .about(
        "Writes all leases into a CSV file as Kea's memfile keeps them. The file lies on the node that is \
         asked, in its `[control].write-dir`, and replaces one of the same name.",
    )
    .takes(&[needed(
        "filename",
        Kind::Text,
        "The name within `[control].write-dir`, or the whole path of a file there.",
    )]);

fn write(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let refuse = |text: &str| Refusal::error(text);
    if args.map().is_none() {
        return Err(refuse("no parameters specified for the command"));
    }
    let name = args.get("filename").ok_or_else(|| refuse("'filename' parameter not specified"))?;
    let name =
        name.as_str().ok_or_else(|| refuse("'filename' parameter must be a string"))?.to_owned();
    if name.is_empty() {
        return Err(refuse("'filename' parameter is invalid: path: '' has no filename"));
    }
    let text = format!("IPv4 lease database into '{name}'.");
    let leases = Box::new(WriteLeases { name, frozen: cx.view.freeze() });
    Ok(Plan::effect(Effect::WriteLeases(leases), move |acted| match acted {
        Ok(_) => Reply::success(text),
        Err(cause) => Reply::failure(Code::Error, cause),
    }))
}

/// What `lease4-write` is to write, and where.
#[derive(Clone)]
pub struct WriteLeases {
    /// The file, as the request named it.
    pub name: String,
    frozen: Frozen,
}

impl fmt::Debug for WriteLeases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {} leases", self.name, self.frozen.len())
    }
}

impl PartialEq for WriteLeases {
    fn eq(&self, other: &WriteLeases) -> bool {
        self.name == other.name && self.frozen.meta().applied() == other.frozen.meta().applied()
    }
}

impl Eq for WriteLeases {}

const HEAD: &str = "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,\
                    user_context,pool_id\n";

impl WriteLeases {
    /// How many leases there are.
    pub fn len(&self) -> usize {
        self.frozen.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.frozen.is_empty()
    }

    /// Writes the whole content. Takes its time.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(HEAD.as_bytes())?;
        let printer = Printer::new(self.frozen.meta());
        self.frozen.leases().try_for_each(|lease| row(&printer.lease(lease), out))
    }
}

fn row(lease: &Lease4<'_>, out: &mut dyn Write) -> io::Result<()> {
    let context = lease.user_context.as_ref().map(ToString::to_string).unwrap_or_default();
    writeln!(
        out,
        "{},{},{},{},{},{},{},{},{},{},{},{}",
        lease.ip_address,
        lease.hw_address,
        lease.client_id.as_deref().unwrap_or_default(),
        lease.valid_lft,
        lease.cltt.saturating_add(lease.valid_lft.into()),
        lease.subnet_id,
        u8::from(lease.fqdn_fwd),
        u8::from(lease.fqdn_rev),
        Escaped(lease.hostname),
        lease.state,
        Escaped(&context),
        lease.pool_id,
    )
}

/// A text in a column: a comma, `&`, and every byte that is not printable ASCII is `&#x` and two hexadecimal
/// digits, as Kea writes and reads it.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            match byte {
                b',' | b'&' => write!(f, "&#x{byte:02x}")?,
                b' '..=b'~' => write!(f, "{}", char::from(byte))?,
                _ => write!(f, "&#x{byte:02x}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::testing;
    use crate::state::{LeaseState, Rare, State};

    #[test]
    fn a_row_is_what_kea_reads() {
        let state = State::new();
        let frozen = state.view().freeze();
        let text = |lease: &crate::state::Lease| {
            let mut out = Vec::new();
            row(&Printer::new(frozen.meta()).lease(lease), &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let mut lease = testing::lease("192.0.2.1", 1);
        assert_eq!(text(&lease), "192.0.2.1,02:00:00:00:00:01,,3600,3600,1,0,0,,0,,0\n");
        lease.client_id = Some("01:02".parse().unwrap());
        lease.hostname = "a,b&cé".into();
        lease.fqdn_rev = true;
        lease.rare = Rare::new(Some(r#"{"a":1,"b":"\n"}"#.into()), 0, None);
        let escaped = "a&#x2cb&#x26c&#xc3&#xa9";
        let context = r#"{"a":1&#x2c"b":"\n"}"#;
        let row =
            format!("192.0.2.1,02:00:00:00:00:01,01:02,3600,3600,1,0,1,{escaped},0,{context},0\n");
        assert_eq!(text(&lease), row);
        let declined = crate::state::Lease {
            state: LeaseState::Declined,
            hw: "".parse().unwrap(),
            ..testing::lease("192.0.2.2", 2)
        };
        assert_eq!(text(&declined), "192.0.2.2,,,3600,3600,1,0,0,,1,,0\n");
    }
}
