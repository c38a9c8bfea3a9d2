//! An Ethernet switch in user space whose links have weather: delay, jitter, loss, duplication and reordering, each direction on its
//! own. It needs `/dev/net/tun` and nothing else of the kernel; netem, which does the same in the kernel, is not in every one.
//!
//! What it promises:
//!
//! * A frame is under way for at least the delay of its direction. How much longer is up to the machine: the thread wakes each
//!   millisecond at best.
//! * Frames of one direction keep their order, whatever the jitter and however the weather changes, but for those that are held back
//!   because reordering was asked for.
//! * All draws come from one seed. Each direction draws on its own, so its n-th frame has the same fate in each run with the same
//!   weather, whatever the others send.
//! * At most [`UNDER_WAY_MAX`] frames are under way in one direction. What comes on top is dropped and counted.
//! * After [`Emulator::cut`] returns nothing more arrives, also not what was under way.
//!
//! It does not limit the rate.
//!
//! [`Links`] is the pure part: frames and times in, frames out. [`Emulator`] is a thread that owns the TAP devices and moves frames
//! between them and the links.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result};

use super::sys;
use super::topology::{Namespace, Nic, mac_text};
use crate::clock;
use crate::floor::sim::dice::Dice;

/// The programs that this needs.
pub const TOOLS: [&str; 1] = ["ip"];

/// The device that TAP interfaces are made with.
pub const TUN: &str = "/dev/net/tun";

/// So many frames are under way in one direction at most.
pub const UNDER_WAY_MAX: usize = 4096;

/// How much longer than its turn a frame is held back that others are to overtake: shortest and longest, in microseconds.
const HELD_US: (u64, u64) = (1_000, 10_000);

/// Delays and jitters beyond an hour count as an hour, so that no sum of times overflows.
const LONGEST_MS: u64 = 3_600_000;

/// The switch remembers so many hardware addresses. Frames to others go to all ports.
const LEARNED_MAX: usize = 4096;

/// Longer than any frame at an MTU of 1500.
const FRAME_MAX: usize = 2048;

/// A port is read so many times in a row before the others have their turn.
const BATCH: usize = 64;

/// What frames from one port to another meet. The default is a perfect link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weather {
    /// Each frame is under way for at least so long, in milliseconds.
    pub delay_ms: u64,
    /// Up to so long is added, in milliseconds, any value as likely. A frame that would overtake the one before waits for it.
    pub jitter_ms: u64,
    /// Of a thousand frames so many are lost.
    pub loss_per_mille: u32,
    /// Of a thousand frames so many arrive twice.
    pub duplicate_per_mille: u32,
    /// Of a thousand frames so many are held back by some milliseconds more, so that those behind overtake them.
    pub reorder_per_mille: u32,
}

/// What has become of the frames. One that goes to several ports counts for each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Arrived; each copy counts.
    pub forwarded: u64,
    /// Lost by the weather, or by a cut.
    pub lost: u64,
    /// Sent on twice.
    pub duplicated: u64,
    /// Arrived after one that was sent later.
    pub reordered: u64,
    /// Not taken: too many were under way, the interface was down, or it was no Ethernet frame.
    pub dropped: u64,
}

/// One direction between two ports.
#[derive(Debug)]
struct Link {
    dice: Dice,
    weather: Weather,
    cut: bool,
    under_way: usize,
    /// When the last frame that kept its turn is due, in microseconds: none that is sent later is due earlier.
    last_due: u64,
    /// Number of the latest frame that arrived.
    newest: u64,
}

/// A frame that is under way.
#[derive(Debug)]
struct UnderWay {
    from: usize,
    to: usize,
    frame: Vec<u8>,
}

/// The switch and its links. Ports are numbered from 0. Times are microseconds of any clock that does not go back.
#[derive(Debug)]
pub struct Links {
    seed: u64,
    ports: usize,
    /// Of links that are not in `links` yet.
    weather: Weather,
    /// By from and to.
    links: HashMap<(usize, usize), Link>,
    /// Which port a hardware address was last heard at.
    learned: HashMap<[u8; 6], usize>,
    /// By when it is due and its number, so that frames due at the same time keep their order.
    under_way: BTreeMap<(u64, u64), UnderWay>,
    /// How many frames have been sent on a link, the number of the latest.
    sent: u64,
    counts: Counts,
}

impl Links {
    /// A switch without ports.
    pub fn new(seed: u64) -> Links {
        Links {
            seed,
            ports: 0,
            weather: Weather::default(),
            links: HashMap::new(),
            learned: HashMap::new(),
            under_way: BTreeMap::new(),
            sent: 0,
            counts: Counts::default(),
        }
    }

    /// Adds a port and gives its number.
    pub fn add_port(&mut self) -> usize {
        self.ports += 1;
        self.ports - 1
    }

    /// Takes a frame that port `from` sends. A frame to an address that is known goes to its port alone, any other to all other ports.
    pub fn offer(&mut self, now_us: u64, from: usize, frame: Vec<u8>) {
        let (Some(destination), Some(source)) = (mac_at(&frame, 0), mac_at(&frame, 6)) else {
            self.counts.dropped += 1;
            return;
        };
        self.learn(source, from);
        let known =
            if is_group(destination) { None } else { self.learned.get(&destination).copied() };
        match known {
            // It is on that side of the switch already.
            Some(to) if to == from => {}
            Some(to) => self.send(now_us, from, to, &frame),
            None => {
                for to in (0..self.ports).filter(|to| *to != from) {
                    self.send(now_us, from, to, &frame);
                }
            }
        }
    }

    fn learn(&mut self, source: [u8; 6], port: usize) {
        let has_room = self.learned.len() < LEARNED_MAX || self.learned.contains_key(&source);
        if has_room && !is_group(source) {
            self.learned.insert(source, port);
        }
    }

    /// Draws what becomes of a frame on one link.
    fn send(&mut self, now_us: u64, from: usize, to: usize, frame: &[u8]) {
        let link = link_of(&mut self.links, self.seed, self.weather, from, to);
        let weather = link.weather;
        let chance = |dice: &Dice, per_mille: u32| dice.chance(u64::from(per_mille));
        if link.cut || chance(&link.dice, weather.loss_per_mille) {
            self.counts.lost += 1;
            return;
        }
        let twice = chance(&link.dice, weather.duplicate_per_mille);
        self.counts.duplicated += u64::from(twice);
        for _ in 0..1 + u8::from(twice) {
            if link.under_way >= UNDER_WAY_MAX {
                self.counts.dropped += 1;
                continue;
            }
            let late = micros(weather.delay_ms) + link.dice.between(0, micros(weather.jitter_ms));
            let in_turn = link.last_due.max(now_us.saturating_add(late));
            let due = if chance(&link.dice, weather.reorder_per_mille) {
                // Those behind do not wait for it.
                in_turn.saturating_add(link.dice.between(HELD_US.0, HELD_US.1))
            } else {
                link.last_due = in_turn;
                in_turn
            };
            link.under_way += 1;
            self.sent += 1;
            let under_way = UnderWay { from, to, frame: frame.to_vec() };
            self.under_way.insert((due, self.sent), under_way);
        }
    }

    /// The frames that have arrived by now, in order, each with the port that it goes out at. Each is given once.
    pub fn due(&mut self, now_us: u64) -> Vec<(usize, Vec<u8>)> {
        let mut arrived = Vec::new();
        while let Some(first) = self.under_way.first_entry() {
            if first.key().0 > now_us {
                break;
            }
            let ((_, number), UnderWay { from, to, frame }) = first.remove_entry();
            if let Some(link) = self.links.get_mut(&(from, to)) {
                link.under_way = link.under_way.saturating_sub(1);
                if number < link.newest {
                    self.counts.reordered += 1;
                } else {
                    link.newest = number;
                }
            }
            self.counts.forwarded += 1;
            arrived.push((to, frame));
        }
        arrived
    }

    /// When the next frame arrives; none when none is under way.
    pub fn next_due(&self) -> Option<u64> {
        self.under_way.first_key_value().map(|(key, _)| key.0)
    }

    /// Says that a port did not take a frame of [`Links::due`].
    pub fn refused(&mut self) {
        self.counts.forwarded = self.counts.forwarded.saturating_sub(1);
        self.counts.dropped += 1;
    }

    /// Sets what frames from port `from` to port `to` meet. Those under way are not touched.
    pub fn set_weather(&mut self, from: usize, to: usize, weather: Weather) {
        self.link(from, to).weather = weather;
    }

    /// Sets it for all links, also of ports to come.
    pub fn set_all(&mut self, weather: Weather) {
        self.weather = weather;
        for link in self.links.values_mut() {
            link.weather = weather;
        }
    }

    /// Loses so many of a thousand frames on all links, also of ports to come. The weather is otherwise as it was.
    pub fn lose(&mut self, per_mille: u32) {
        self.weather.loss_per_mille = per_mille;
        for link in self.links.values_mut() {
            link.weather.loss_per_mille = per_mille;
        }
    }

    /// Loses what port `from` sends to port `to` until [`Links::calm`], and what is under way there.
    pub fn cut(&mut self, from: usize, to: usize) {
        let link = self.link(from, to);
        link.cut = true;
        (link.under_way, link.last_due) = (0, 0);
        let before = self.under_way.len();
        self.under_way.retain(|_, frame| (frame.from, frame.to) != (from, to));
        self.counts.lost += (before - self.under_way.len()) as u64;
    }

    /// Takes away every cut and makes all links perfect. What is under way still arrives when it is due; what is sent from now on is
    /// behind it.
    pub fn calm(&mut self) {
        self.set_all(Weather::default());
        for link in self.links.values_mut() {
            link.cut = false;
        }
    }

    /// What has become of the frames so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn link(&mut self, from: usize, to: usize) -> &mut Link {
        link_of(&mut self.links, self.seed, self.weather, from, to)
    }
}

/// The link in `links`, which is made when it is not there. Not a method, so that the rest of [`Links`] is not borrowed with it.
fn link_of(
    links: &mut HashMap<(usize, usize), Link>,
    seed: u64,
    weather: Weather,
    from: usize,
    to: usize,
) -> &mut Link {
    links.entry((from, to)).or_insert_with(|| Link {
        dice: Dice::new(seed, ((from as u64) << 32) | to as u64),
        weather,
        cut: false,
        under_way: 0,
        last_due: 0,
        newest: 0,
    })
}

fn micros(millis: u64) -> u64 {
    millis.min(LONGEST_MS) * 1000
}

/// The hardware address that begins at byte `at` of a frame.
fn mac_at(frame: &[u8], at: usize) -> Option<[u8; 6]> {
    frame.get(at..at + 6)?.try_into().ok()
}

/// Whether it is an address of many: broadcast or multicast.
fn is_group(mac: [u8; 6]) -> bool {
    mac[0] & 1 == 1
}

/// The switch at work. Ports are numbered from 0 in the order in which they were plugged in. Dropping it ends its thread, and the
/// interfaces of its ports vanish.
#[derive(Debug)]
pub struct Emulator {
    links: Arc<Mutex<Links>>,
    stop: Arc<AtomicBool>,
    plugs: Sender<File>,
    wake: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Emulator {
    /// A switch without ports and with perfect links, whose weather draws from `seed`.
    ///
    /// # Errors
    /// When its thread cannot be started.
    pub fn start(seed: u64) -> Result<Emulator> {
        let (wake, woken) = UnixStream::pair().context("opening a pair of sockets")?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let links = Arc::new(Mutex::new(Links::new(seed)));
        let stop = Arc::new(AtomicBool::new(false));
        let (plugs, plugged) = mpsc::channel();
        let carrier = Carrier {
            links: Arc::clone(&links),
            stop: Arc::clone(&stop),
            plugged,
            woken,
            taps: Vec::new(),
        };
        let thread = std::thread::Builder::new()
            .name("emulator".to_owned())
            .spawn(move || carrier.run())
            .context("starting the thread of an emulator")?;
        Ok(Emulator { links, stop, plugs, wake, thread: Some(thread) })
    }

    /// Plugs `host` in: its new interface `interface`, a TAP device, is the next port.
    ///
    /// # Errors
    /// When there is no `/dev/net/tun`, the interface exists already, `ip` fails, or the thread has ended.
    pub fn plug(&self, host: &Namespace, interface: &str, nic: Nic) -> Result<()> {
        let tap = host
            .inside(|| open_tap(interface))?
            .with_context(|| format!("making the TAP {interface} in {}", host.name()))?;
        if let Some(mac) = nic.mac {
            host.ip(&["link", "set", interface, "address", &mac_text(mac)])?;
        }
        if let Some((address, prefix)) = nic.address {
            host.ip(&["addr", "add", &format!("{address}/{prefix}"), "dev", interface])?;
        }
        host.ip(&["link", "set", interface, "up"])?;
        // Under the lock, so that the numbers of ports and the order of devices agree.
        let mut links = self.links();
        self.plugs.send(tap).ok().context("the thread of the emulator has ended")?;
        links.add_port();
        drop(links);
        self.wake();
        Ok(())
    }

    /// As [`Links::set_weather`].
    pub fn set_weather(&self, from: usize, to: usize, weather: Weather) {
        self.links().set_weather(from, to, weather);
    }

    /// As [`Links::set_all`].
    pub fn set_all(&self, weather: Weather) {
        self.links().set_all(weather);
    }

    /// As [`Links::lose`].
    pub fn lose(&self, per_mille: u32) {
        self.links().lose(per_mille);
    }

    /// As [`Links::cut`].
    pub fn cut(&self, from: usize, to: usize) {
        self.links().cut(from, to);
    }

    /// As [`Links::calm`].
    pub fn calm(&self) {
        self.links().calm();
    }

    /// As [`Links::counts`].
    pub fn counts(&self) -> Counts {
        self.links().counts()
    }

    fn links(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the thread look for new ports and for its end. Weather needs no wake-up: it never makes a frame due earlier.
    fn wake(&self) {
        // When there is no room, it has been woken already.
        let _ = (&self.wake).write_all(&[1]);
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Makes the TAP device `interface` in the caller's network namespace. Its reads and writes do not block.
///
/// Frames are bare: without the header of virtio the kernel offers no offloads on the device, so it segments and checksums whatever it
/// sends, and checks the checksums of what it is given.
fn open_tap(interface: &str) -> io::Result<File> {
    let device =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(TUN)?;
    sys::attach_tap(&device, interface)?;
    Ok(device)
}

/// What the thread has. The TAP devices are closed when it ends.
struct Carrier {
    links: Arc<Mutex<Links>>,
    stop: Arc<AtomicBool>,
    plugged: Receiver<File>,
    woken: UnixStream,
    /// By port; none when the interface was deleted.
    taps: Vec<Option<File>>,
}

impl Carrier {
    fn run(mut self) {
        let mut heard = Vec::new();
        while !self.stop.load(Ordering::Relaxed) {
            let limit_ms = self.carry(&mut heard);
            match self.wait(limit_ms) {
                Ok(ready) => self.hear(&ready, &mut heard),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    eprintln!("the emulator of links has ended: {error}");
                    return;
                }
            }
        }
    }

    /// Puts what was heard on the links and writes what has arrived. Gives the milliseconds until more arrives, rounded up.
    ///
    /// Writes happen under the lock, so that a cut that has returned has cut. They do not block.
    fn carry(&mut self, heard: &mut Vec<(usize, Vec<u8>)>) -> Option<u64> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        while let Ok(tap) = self.plugged.try_recv() {
            self.taps.push(Some(tap));
        }
        let now = clock::now_us();
        for (port, frame) in heard.drain(..) {
            links.offer(now, port, frame);
        }
        for (port, frame) in links.due(now) {
            let tap = self.taps.get_mut(port).and_then(Option::as_mut);
            let taken =
                tap.is_some_and(|tap| tap.write(&frame).is_ok_and(|len| len == frame.len()));
            if !taken {
                links.refused();
            }
        }
        links.next_due().map(|due| due.saturating_sub(clock::now_us()).div_ceil(1000))
    }

    /// Waits until there is something to do. Says what: first of the wake-ups, then of each open device.
    fn wait(&self, limit_ms: Option<u64>) -> io::Result<Vec<bool>> {
        let devices = self.taps.iter().flatten().map(|tap| tap.as_fd());
        let waited: Vec<BorrowedFd<'_>> =
            std::iter::once(self.woken.as_fd()).chain(devices).collect();
        sys::wait_readable(&waited, limit_ms)
    }

    /// Reads what is there. `ready` is the answer of [`Carrier::wait`].
    fn hear(&mut self, ready: &[bool], heard: &mut Vec<(usize, Vec<u8>)>) {
        let mut ready = ready.iter().copied();
        if ready.next() == Some(true) {
            let mut bytes = [0; 64];
            while self.woken.read(&mut bytes).is_ok_and(|len| len > 0) {}
        }
        let open = self.taps.iter_mut().enumerate().filter(|(_, tap)| tap.is_some());
        for ((port, slot), is_ready) in open.zip(ready) {
            let Some(tap) = slot.as_mut().filter(|_| is_ready) else { continue };
            if let Err(error) = read_batch(tap, port, heard) {
                // Or poll would report it for ever.
                eprintln!("port {port} of the emulator is gone: {error}");
                *slot = None;
            }
        }
    }
}

/// Reads the frames that wait at a port, up to [`BATCH`].
fn read_batch(tap: &mut File, port: usize, heard: &mut Vec<(usize, Vec<u8>)>) -> io::Result<()> {
    let mut buffer = [0; FRAME_MAX];
    for _ in 0..BATCH {
        match tap.read(&mut buffer) {
            Ok(len) => heard.extend(buffer.get(..len).map(|frame| (port, frame.to_vec()))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Counts, Links, UNDER_WAY_MAX, Weather};

    /// Frames of a run are sent so far apart, in microseconds.
    const STEP_US: u64 = 100;

    fn mac(last: u8) -> [u8; 6] {
        [2, 0, 0, 0, 0, last]
    }

    fn frame(to: [u8; 6], from: [u8; 6], number: u32) -> Vec<u8> {
        let mut frame = to.to_vec();
        frame.extend_from_slice(&from);
        frame.extend_from_slice(&[0x88, 0xb5]);
        frame.extend_from_slice(&number.to_be_bytes());
        frame
    }

    fn number_of(frame: &[u8]) -> u32 {
        u32::from_be_bytes(frame[14..18].try_into().expect("four bytes"))
    }

    fn ports_of(frames: &[(usize, Vec<u8>)]) -> Vec<usize> {
        frames.iter().map(|(port, _)| *port).collect()
    }

    /// Two ports that have heard of each other: port 0 has address 0, port 1 has address 1.
    fn joined(weather: Weather) -> Links {
        let mut links = Links::new(7);
        assert_eq!((links.add_port(), links.add_port()), (0, 1));
        links.offer(0, 0, frame(mac(1), mac(0), 0));
        links.offer(0, 1, frame(mac(0), mac(1), 0));
        assert_eq!(links.due(0).len(), 2);
        links.counts = Counts::default();
        links.set_all(weather);
        links
    }

    /// Sends frames with the numbers below `count` from port 0 to port 1 and gives the numbers in the order in which they arrive.
    fn run(links: &mut Links, count: u32) -> Vec<u32> {
        for number in 0..count {
            links.offer(u64::from(number) * STEP_US, 0, frame(mac(1), mac(0), number));
        }
        let arrived = links.due(u64::MAX);
        assert!(arrived.iter().all(|(port, _)| *port == 1));
        assert_eq!(links.next_due(), None);
        arrived.iter().map(|(_, frame)| number_of(frame)).collect()
    }

    #[test]
    fn a_frame_arrives_when_its_delay_is_over_and_not_before() {
        let mut links = joined(Weather { delay_ms: 10, ..Weather::default() });
        links.offer(500, 0, frame(mac(1), mac(0), 3));
        assert_eq!(links.next_due(), Some(10_500));
        assert!(links.due(10_499).is_empty());
        assert_eq!(links.due(10_500), [(1, frame(mac(1), mac(0), 3))]);
        assert!(links.due(10_500).is_empty(), "each is given once");
        assert_eq!(links.counts(), Counts { forwarded: 1, ..Counts::default() });
    }

    #[test]
    fn jitter_delays_and_keeps_the_order() {
        let mut links = joined(Weather { delay_ms: 5, jitter_ms: 20, ..Weather::default() });
        links.offer(0, 0, frame(mac(1), mac(0), 0));
        let due = links.next_due().expect("a frame");
        assert!((5_000..=25_000).contains(&due), "{due}");
        let arrived = run(&mut links, 2_000);
        let sent: Vec<u32> = std::iter::once(0).chain(0..2_000).collect();
        assert_eq!(arrived, sent);
        assert_eq!(links.counts().reordered, 0);
    }

    #[test]
    fn better_weather_does_not_reorder_either() {
        let mut links = joined(Weather { delay_ms: 50, ..Weather::default() });
        links.offer(0, 0, frame(mac(1), mac(0), 1));
        links.calm();
        links.offer(1_000, 0, frame(mac(1), mac(0), 2));
        assert!(links.due(49_999).is_empty());
        let arrived: Vec<u32> =
            links.due(50_000).iter().map(|(_, frame)| number_of(frame)).collect();
        assert_eq!(arrived, [1, 2]);
    }

    #[test]
    fn loss_loses_some_and_not_all() {
        let mut links = joined(Weather { loss_per_mille: 300, ..Weather::default() });
        let arrived = run(&mut links, 2_000);
        let counts = links.counts();
        assert!((500..=700).contains(&counts.lost), "{counts:?}");
        assert_eq!(counts.lost + counts.forwarded, 2_000);
        assert_eq!(arrived.len() as u64, counts.forwarded);
        assert!(arrived.is_sorted());
        links.set_all(Weather { loss_per_mille: 1_000, ..Weather::default() });
        assert!(run(&mut links, 100).is_empty());
    }

    #[test]
    fn duplicates_come_twice_and_in_order() {
        let weather = Weather { jitter_ms: 20, duplicate_per_mille: 250, ..Weather::default() };
        let mut links = joined(weather);
        let mut arrived = run(&mut links, 2_000);
        let counts = links.counts();
        assert!((400..=600).contains(&counts.duplicated), "{counts:?}");
        assert_eq!(arrived.len() as u64, 2_000 + counts.duplicated);
        assert!(arrived.is_sorted());
        arrived.dedup();
        assert_eq!(arrived.len(), 2_000);
    }

    #[test]
    fn reordering_reorders_some_and_loses_none() {
        let mut links = joined(Weather { reorder_per_mille: 100, ..Weather::default() });
        let mut arrived = run(&mut links, 2_000);
        assert!(!arrived.is_sorted());
        let counts = links.counts();
        assert!((130..=270).contains(&counts.reordered), "{counts:?}");
        arrived.sort_unstable();
        assert!(arrived.into_iter().eq(0..2_000));
    }

    #[test]
    fn no_more_are_under_way_than_allowed_and_the_oldest_stay() {
        let mut links = joined(Weather { delay_ms: 1, ..Weather::default() });
        for number in 0..5_000 {
            links.offer(0, 0, frame(mac(1), mac(0), number));
        }
        assert_eq!(links.counts().dropped, 5_000 - UNDER_WAY_MAX as u64);
        links.offer(0, 1, frame(mac(0), mac(1), 0));
        assert_eq!(links.counts().dropped, 5_000 - UNDER_WAY_MAX as u64, "the other direction");
        let arrived = links.due(1_000);
        assert_eq!(arrived.len(), UNDER_WAY_MAX + 1);
        let numbers = arrived.iter().filter(|(port, _)| *port == 1).map(|(_, f)| number_of(f));
        assert!(numbers.eq(0..UNDER_WAY_MAX as u32));
        links.offer(2_000, 0, frame(mac(1), mac(0), 0));
        assert_eq!(links.due(3_000).len(), 1, "there is room again");
    }

    #[test]
    fn a_learned_address_has_one_port_and_others_have_all() {
        let mut links = Links::new(1);
        for _ in 0..3 {
            links.add_port();
        }
        links.offer(0, 0, frame(mac(2), mac(0), 0));
        assert_eq!(ports_of(&links.due(0)), [1, 2], "nobody has heard of it");
        links.offer(0, 2, frame(mac(0), mac(2), 0));
        assert_eq!(ports_of(&links.due(0)), [0]);
        links.offer(0, 0, frame(mac(2), mac(0), 0));
        assert_eq!(ports_of(&links.due(0)), [2]);
        links.offer(0, 2, frame([0xff; 6], mac(2), 0));
        assert_eq!(ports_of(&links.due(0)), [0, 1], "broadcast");
        links.offer(0, 0, frame(mac(0), mac(0), 0));
        assert!(links.due(0).is_empty(), "it is there already");
        links.offer(0, 1, frame(mac(0), mac(2), 0));
        assert_eq!(ports_of(&links.due(0)), [0]);
        links.offer(0, 0, frame(mac(2), mac(0), 0));
        assert_eq!(ports_of(&links.due(0)), [1], "it has moved");
        links.offer(0, 0, vec![0; 11]);
        assert!(links.due(0).is_empty());
        assert_eq!(links.counts().dropped, 1, "not an Ethernet frame");
    }

    #[test]
    fn a_cut_takes_one_direction_with_what_is_under_way() {
        let mut links = joined(Weather { delay_ms: 10, ..Weather::default() });
        links.offer(0, 0, frame(mac(1), mac(0), 1));
        links.offer(0, 1, frame(mac(0), mac(1), 2));
        links.cut(0, 1);
        links.offer(0, 0, frame(mac(1), mac(0), 3));
        assert_eq!(ports_of(&links.due(10_000)), [0]);
        assert_eq!(links.counts(), Counts { forwarded: 1, lost: 2, ..Counts::default() });
        links.set_all(Weather::default());
        links.offer(20_000, 0, frame(mac(1), mac(0), 4));
        assert!(links.due(20_000).is_empty(), "fair weather mends no cut");
        links.calm();
        links.offer(20_000, 0, frame(mac(1), mac(0), 5));
        assert_eq!(links.due(20_000), [(1, frame(mac(1), mac(0), 5))]);
    }

    #[test]
    fn losing_changes_the_loss_alone_and_calm_ends_all() {
        let mut links = joined(Weather { delay_ms: 10, ..Weather::default() });
        links.lose(1_000);
        assert!(run(&mut links, 100).is_empty());
        links.lose(0);
        links.offer(1_000_000, 0, frame(mac(1), mac(0), 0));
        assert_eq!(links.next_due(), Some(1_010_000), "the delay is as it was");
        assert_eq!(links.due(1_010_000).len(), 1);
        links.set_weather(0, 1, Weather { loss_per_mille: 300, ..Weather::default() });
        assert!(run(&mut links, 1_000).len() < 1_000);
        links.calm();
        assert_eq!(run(&mut links, 1_000).len(), 1_000);
    }

    #[test]
    fn the_same_seed_is_the_same_weather_whatever_the_other_direction_sends() {
        let weather = Weather {
            delay_ms: 1,
            jitter_ms: 3,
            loss_per_mille: 100,
            duplicate_per_mille: 100,
            reorder_per_mille: 100,
        };
        let (mut one, mut two) = (joined(weather), joined(weather));
        for number in 0..50 {
            two.offer(0, 1, frame(mac(0), mac(1), number));
        }
        two.due(u64::MAX);
        assert_eq!(run(&mut one, 500), run(&mut two, 500));
    }

    #[test]
    fn a_frame_that_a_port_refuses_was_dropped() {
        let mut links = joined(Weather::default());
        links.offer(0, 0, frame(mac(1), mac(0), 0));
        assert_eq!(links.due(0).len(), 1);
        links.refused();
        assert_eq!(links.counts(), Counts { dropped: 1, ..Counts::default() });
    }
}
