//! REQUEST→ACK at a steady load, beside one fdatasync and one round trip.

use anyhow::{Context, Result};

use super::book::{Book, Figure, Subject};
use super::flags::Flags;
use super::subject::Running;
use super::{probe, say};
use crate::floor::netns::node::peer_address;
use crate::perfdhcp::{self, Offer, Timed};

/// The rate at which it is measured.
pub const RATE: u32 = 2_000;

/// The median and the 99th of a hundred, in milliseconds, of a run at [`RATE`].
///
/// # Errors
/// When the load cannot be made or nothing is answered.
pub fn request_ack(running: &mut Running, secs: u32) -> Result<[f64; 2]> {
    let clients = RATE * secs * 2;
    let offer = Offer { rate: RATE, secs, crowd: running.new_crowd(), clients, more: &["-xt"] };
    let (load, printed) = perfdhcp::run_with(running.relay(), running.address, &offer)?;
    let timed = Timed::parse(&printed).context("perfdhcp printed no times")?;
    let [median, p99, longest] = perfdhcp::percentiles(&timed.request_ack, 0.0, f64::INFINITY)
        .context("nothing was answered")?;
    say(&format!(
        "    {:.0} ACKs/s: p50 {median:.2} ms, p99 {p99:.2} ms, longest {longest:.1} ms",
        load.request_ack.received as f64 / f64::from(secs)
    ));
    Ok([median, p99])
}

/// Measures one subject.
///
/// # Errors
/// As [`request_ack`].
pub fn measure(running: &mut Running, flags: &Flags, book: &mut Book) -> Result<()> {
    let subject = running.subject;
    say("  REQUEST→ACK at 2 000 exchanges/s");
    if subject == Subject::Leader {
        let cluster = running.cluster()?;
        let disk = probe::fdatasync_ms(cluster.dir())?;
        let link = probe::round_trip_ms(
            &cluster.nodes[0].namespace,
            &cluster.nodes[1].namespace,
            peer_address(1),
        )?;
        say(&format!("    fdatasync {disk:.3} ms, round trip {link:.3} ms"));
        book.enter(Figure::DiskAndLink, subject, disk + link);
    }
    let [median, p99] = request_ack(running, flags.seconds)?;
    book.enter(Figure::AckMedian, subject, median);
    book.enter(Figure::AckP99, subject, p99);
    running.settle()
}
