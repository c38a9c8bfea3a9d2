//! What the machine itself takes: one fdatasync where the nodes write, and one round trip on the link between them.

use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::sample::Sample;
use crate::clock;
use crate::floor::netns::topology::Namespace;

/// How often each is measured.
const TIMES: u32 = 200;
/// Bytes of a write: about what a small batch of leases takes in the log.
const RECORD: usize = 512;

/// The median of an append and fdatasync in `dir`, in milliseconds.
///
/// # Errors
/// When the file cannot be written.
pub fn fdatasync_ms(dir: &Path) -> Result<f64> {
    let path = dir.join("fdatasync");
    let mut file = File::create(&path).with_context(|| path.display().to_string())?;
    let mut took = Sample::default();
    for _ in 0..TIMES {
        let began = clock::now_us();
        file.write_all(&[1; RECORD])?;
        file.sync_data()?;
        took.push((clock::now_us() - began) as f64 / 1000.0);
    }
    std::fs::remove_file(&path)?;
    took.median().context("nothing was measured")
}

/// The median of a UDP round trip from `from` to `address`, which is in `to`, in milliseconds.
///
/// # Errors
/// When a socket cannot be opened or nothing comes back.
pub fn round_trip_ms(from: &Namespace, to: &Namespace, address: Ipv4Addr) -> Result<f64> {
    let echo = to.inside(|| UdpSocket::bind((address, 0)))??;
    let near = from.inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
    near.connect(echo.local_addr()?)?;
    for socket in [&echo, &near] {
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = [0; 1500];
            // Ends when nothing has come for a second.
            while let Ok((len, from)) = echo.recv_from(&mut buffer) {
                let _ = echo.send_to(buffer.get(..len).unwrap_or_default(), from);
            }
        });
        let (mut took, mut buffer) = (Sample::default(), [0; 1500]);
        for _ in 0..TIMES {
            let began = clock::now_us();
            near.send(&[1; RECORD])?;
            near.recv(&mut buffer).context("no echo")?;
            took.push((clock::now_us() - began) as f64 / 1000.0);
        }
        took.median().context("nothing was measured")
    })
}
