//! `cluster-ctl bench dhcp`: a load generator for DHCPv4 servers.
//!
//! It plays a relay agent with many clients behind it, and speaks to the servers that are named by unicast and to
//! nobody else: nothing is broadcast, no client of the network hears of it. Servers beyond this machine have to be
//! confirmed with `--yes`, and are left alone when they say nothing.
//!
//! `packet` has the messages, `crowd` the clients, `pace` when they begin; these are pure. `wire` is the socket,
//! `drive` runs it all, `tally` counts and `report` prints.

mod crowd;
mod drive;
mod mix;
mod pace;
mod packet;
mod report;
mod tally;
mod wire;

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use self::drive::{Plan, Stopped, drive};
use self::mix::Mix;
use self::pace::Rate;
use self::packet::Identity;
use self::wire::Wire;
use crate::Output;
use crate::client::Failure;
use crate::commands::bench::{interrupted, some_time, time};

/// Where servers and relay agents listen.
const PORT: u16 = 67;
/// The longest that clients may wait: what waits is remembered.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Servers that can be asked at once.
const MOST_SERVERS: usize = 64;

/// What to do.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Servers, ADDR[:PORT], comma-separated; the clients are spread over them
    #[arg(long, value_name = "LIST", required = true, value_delimiter = ',', value_parser = address)]
    servers: Vec<SocketAddrV4>,
    /// Address of the relay agent that we play, ADDR[:PORT]: one of this machine, which has to lie in a subnet of the
    /// servers. With a port other than 67 the servers are asked to reply to it (RFC 8357)
    #[arg(long, value_name = "ADDR", value_parser = address)]
    giaddr: SocketAddrV4,
    /// What clients do, in this order, again and again: discover,request is a four-packet exchange; renew:NUMBER
    /// renews so many times; release ends the lease. Beginning with renew, they get their leases before
    #[arg(long, default_value = "discover,request", value_parser = Mix::parse)]
    mix: Mix,
    /// Steps begun a second, whatever the servers do: exchanges, renewals, releases. max: as fast as they answer
    #[arg(long, value_name = "NUMBER|max", default_value = "100", value_parser = Rate::parse)]
    rate: Rate,
    /// With --rate max: clients that wait for an answer at any time
    #[arg(long, value_name = "NUMBER", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    window: u32,
    /// How many clients there are. Each needs an address
    #[arg(long, value_name = "NUMBER", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=i64::from(crowd::MOST)))]
    clients: u32,
    /// How long to measure: a number and ms, s, m or h
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = some_time)]
    duration: Duration,
    /// How long to do the same before, without counting
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    warm_up: Duration,
    /// How long a client waits for an answer. It asks nothing twice
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = some_time)]
    timeout: Duration,
    /// Makes the clients of this run others than those of another seed: it is in their hardware addresses
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u16,
    /// Have clients send a client identifier (option 61)
    #[arg(long)]
    client_id: bool,
    /// Decode one reply of so many whole, beside the check of a few fields that each gets
    #[arg(long, value_name = "NUMBER", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..))]
    check: u64,
    /// Do not release at the end what the clients hold
    #[arg(long)]
    keep_leases: bool,
    /// The servers are not of this machine, and may be asked all the same
    #[arg(long)]
    yes: bool,
}

/// Runs it. An address that two clients hold makes the exit status 1, and so does a malformed reply.
pub fn run(options: Options, output: Output) -> Result<(), Failure> {
    let yes = options.yes;
    let plan = plan(options)?;
    confirmed(&plan, yes)?;
    let wire =
        Wire::open(plan.relay, &plan.servers).map_err(|error| not_open(plan.relay, &error))?;
    let outcome =
        drive(&plan, wire, &*interrupted()?).map_err(|stopped| why_stopped(&plan, stopped))?;
    match output {
        Output::Json => say_line!("{}", report::json(&plan, &outcome)),
        Output::Table => say!("{}", report::text(&plan, &outcome)),
    }
    let sound = outcome.tally.duplicate_count == 0 && outcome.tally.malformed == 0;
    // Said already.
    if sound { Ok(()) } else { Err(Failure::Refused(String::new())) }
}

/// Reads `ADDR[:PORT]` of one machine.
fn address(text: &str) -> Result<SocketAddrV4, String> {
    let bare = || text.parse().ok().map(|address: Ipv4Addr| SocketAddrV4::new(address, PORT));
    let Some(address) = text.parse().ok().or_else(bare) else {
        return Err("an IPv4 address, or ADDRESS:PORT".to_owned());
    };
    let ip = address.ip();
    if ip.is_unspecified() || ip.is_broadcast() || ip.is_multicast() {
        return Err(format!("{ip} is not the address of one machine"));
    }
    if address.port() == 0 { Err("there is no port 0".to_owned()) } else { Ok(address) }
}

fn plan(options: Options) -> Result<Plan, Failure> {
    let usage = |text: String| Err(Failure::Usage(text));
    let servers = options.servers;
    if servers.len() > MOST_SERVERS {
        return usage(format!("--servers: {MOST_SERVERS} at most"));
    }
    if let Some(twice) = (1..servers.len()).find(|at| servers[..*at].contains(&servers[*at])) {
        return usage(format!("--servers: {} is named twice", servers[twice]));
    }
    if options.timeout > LONGEST_WAIT {
        return usage(format!("--timeout: {} s at most", LONGEST_WAIT.as_secs()));
    }
    if servers.contains(&options.giaddr) {
        return usage(format!(
            "--giaddr {} is a server too: give the relay agent an address or a port of its own",
            options.giaddr
        ));
    }
    let identity = Identity {
        seed: options.seed,
        client_id: options.client_id,
        giaddr: *options.giaddr.ip(),
        any_port: options.giaddr.port() != PORT,
    };
    Ok(Plan {
        servers,
        relay: options.giaddr,
        clients: options.clients,
        mix: options.mix,
        rate: options.rate,
        window: options.window as usize,
        warm_up: options.warm_up,
        duration: options.duration,
        timeout: options.timeout,
        identity,
        check: options.check,
        keep: options.keep_leases,
    })
}

/// A server beyond this machine has clients of its own.
fn confirmed(plan: &Plan, yes: bool) -> Result<(), Failure> {
    let Some(server) = plan.servers.iter().find(|server| !server.ip().is_loopback() && !yes) else {
        return Ok(());
    };
    let pace = match plan.rate {
        Rate::Fixed(rate) => format!("begin {rate} steps a second"),
        Rate::Max => "ask as fast as it answers".to_owned(),
    };
    let leases = match (plan.mix.binds(), plan.keep) {
        (false, _) => "; each OFFER keeps an address for a while",
        (true, false) => "; they release their leases at the end, unless the program is killed",
        (true, true) => ", and keep them until they expire",
    };
    Err(Failure::Usage(format!(
        "{server} is not on this machine. {} clients would {pace} for {:.0} s and take as many addresses out of its \
         pools{leases}. Its own clients would feel that. Nothing was sent; say --yes to do it",
        plan.clients,
        (plan.warm_up + plan.duration).as_secs_f64()
    )))
}

fn not_open(relay: SocketAddrV4, error: &io::Error) -> Failure {
    let hint = match error.kind() {
        ErrorKind::AddrNotAvailable => ": it has to be an address of this machine",
        ErrorKind::PermissionDenied => {
            ": ports below 1024 are for root; servers that know RFC 8357, as Leasehold does, reply to any other, \
             such as --giaddr ADDRESS:6767"
        }
        ErrorKind::AddrInUse => ": something listens there; stop it, or choose another port",
        _ => "",
    };
    Failure::Usage(format!("--giaddr {relay}: {error}{hint}"))
}

fn why_stopped(plan: &Plan, stopped: Stopped) -> Failure {
    let list: Vec<String> = plan.servers.iter().map(SocketAddrV4::to_string).collect();
    let list = list.join(", ");
    Failure::Unreachable(match stopped {
        Stopped::Io(error) => format!("{list} cannot be asked: {error}"),
        Stopped::Silence => format!(
            "no answer from {list}, and nothing more was sent. Is a server there, does {} lie in a subnet of its \
             configuration, does it reply to port {}, and does no filter stand between?",
            plan.identity.giaddr,
            plan.relay.port()
        ),
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
