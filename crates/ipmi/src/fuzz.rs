//! Every parser of outside bytes as a function that must neither panic nor hang, whatever it gets.
//!
//! The tests below drive them over seeded mutations of valid samples; a coverage-guided fuzzer may too.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::bmc::{Bmc, MemoryChassis, Settings, Users};
use crate::chassis::{BootOptions, ChannelCapabilities, ChassisStatus, DeviceId};
use crate::client::Talk;
use crate::completion::SetupStatus;
use crate::crypto::{CipherSuite, SessionKeys};
use crate::message::{CONSOLE, Reply, Request};
use crate::packet::{Packet, payload, seal, setup};
use crate::rakp::{Handshake, OpenSessionRequest, OpenSessionResponse, Rakp1, Rakp2, RakpCode};
use crate::sensor::{Reading, Sensor};

const CONSOLE_ID: u32 = 0x1122_3344;
const PASSWORD: &str = "fuzz";

fn keys(suite: CipherSuite) -> SessionKeys {
    SessionKeys::derive(suite, b"a session integrity key")
}

/// Headers of both wrappers and of ASF, codes and decryption.
pub fn fuzz_packet(data: &[u8]) {
    if let Ok(Packet::Session(packet)) = Packet::parse(data) {
        CipherSuite::PREFERENCE
            .into_iter()
            .for_each(|suite| drop(packet.unseal(&keys(suite))));
    }
    drop(keys(CipherSuite::Suite3).decrypt(data));
}

/// Messages inside the wrappers, from either side.
pub fn fuzz_message(data: &[u8]) {
    drop(Request::parse(data));
    drop(Reply::parse(data));
}

/// Open session and RAKP messages, from either side.
pub fn fuzz_setup(data: &[u8]) {
    drop(OpenSessionRequest::parse(data));
    drop(OpenSessionResponse::parse(data));
    drop(Rakp1::parse(data));
    drop(Rakp2::parse(data));
    drop(RakpCode::parse(data));
}

/// Data of the responses that the client reads.
pub fn fuzz_answers(data: &[u8]) {
    let _ = ChassisStatus::parse(data);
    drop(DeviceId::parse(data));
    let _ = BootOptions::parse(data);
    let _ = ChannelCapabilities::parse(data);
    if let Ok(Some(sensor)) = Sensor::parse(data)
        && let Ok(reading) = Reading::parse(data)
    {
        let _ = (sensor.value(reading), sensor.tolerance(), reading.crossed());
        let _ = (
            sensor.normal(),
            sensor.thresholds(),
            sensor.hysteresis(),
            sensor.range(),
        );
    }
}

/// What a client in a session does with a datagram, and with a message that came in a valid one.
pub fn fuzz_client(data: &[u8]) {
    let request = Request {
        netfn: 0,
        lun: 0,
        command: 1,
        sequence: 1,
        requester: CONSOLE,
        data: vec![],
    };
    let mut talk = Talk::new(keys(CipherSuite::Suite17), CONSOLE_ID, 1);
    drop(talk.accept(data, &request));
    let datagram = seal(
        &keys(CipherSuite::Suite17),
        payload::IPMI,
        CONSOLE_ID,
        1,
        data,
        [0; 16],
    );
    drop(talk.accept(&datagram, &request));
}

/// What a BMC does with a datagram, with a set-up message of each kind, and with a message and a
/// command from a logged-in administrator.
pub fn fuzz_bmc(data: &[u8]) {
    let peer = SocketAddr::from(([127, 0, 0, 1], 1));
    let chassis = Arc::new(MemoryChassis::new());
    let mut bmc = Bmc::new(
        Settings::new(Users::administrator("u", PASSWORD.into())),
        chassis,
    );
    at_once(bmc.handle(data, peer));
    for kind in [
        payload::IPMI,
        payload::OPEN_SESSION_REQUEST,
        payload::RAKP1,
        payload::RAKP3,
    ] {
        at_once(bmc.handle(&setup(kind, data), peer));
    }
    let Some((keys, session)) = log_in(&mut bmc, peer) else {
        return;
    };
    at_once(bmc.handle(&seal(&keys, payload::IPMI, session, 1, data, [0; 16]), peer));
    if let [netfn, command, data @ ..] = data {
        let raise = Request {
            netfn: 6,
            lun: 0,
            command: 0x3b,
            sequence: 1,
            requester: CONSOLE,
            data: vec![4],
        };
        let request = Request {
            netfn: netfn & 0x3e,
            lun: 0,
            command: *command,
            sequence: 2,
            requester: CONSOLE,
            data: data.to_vec(),
        };
        for (sequence, request) in [(2, raise), (3, request)] {
            at_once(bmc.handle(
                &seal(
                    &keys,
                    payload::IPMI,
                    session,
                    sequence,
                    &request.encode(),
                    [0; 16],
                ),
                peer,
            ));
        }
    }
}

/// Nothing that the BMC awaits here is ever not ready.
fn at_once<T>(future: impl Future<Output = Option<T>>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => None,
    }
}

/// The console's half of a login, without a socket.
fn log_in(bmc: &mut Bmc, peer: SocketAddr) -> Option<(SessionKeys, u32)> {
    let suite = CipherSuite::Suite17;
    let mut step = |kind: u8, content: &[u8]| {
        let answer = at_once(bmc.handle(&setup(kind, content), peer))?;
        let Ok(Packet::Session(packet)) = Packet::parse(&answer) else {
            return None;
        };
        Some(packet.payload.to_vec())
    };
    let request = OpenSessionRequest::proposing(suite, 1, CONSOLE_ID);
    let accepted =
        OpenSessionResponse::parse(&step(payload::OPEN_SESSION_REQUEST, &request.encode())?)
            .ok()?
            .accepted?;
    let rakp1 = Rakp1 {
        tag: 1,
        bmc_id: accepted.bmc_id,
        console_random: [1; 16],
        role: 0x14,
        username: b"u".to_vec(),
    };
    let proof = Rakp2::parse(&step(payload::RAKP1, &rakp1.encode())?)
        .ok()?
        .proof?;
    let handshake = Handshake {
        suite,
        console_id: CONSOLE_ID,
        bmc_id: accepted.bmc_id,
        console_random: [1; 16],
        bmc_random: proof.bmc_random,
        guid: proof.guid,
        role: 0x14,
        username: b"u".to_vec(),
    };
    let code = handshake.rakp3_code(PASSWORD.as_bytes());
    let rakp3 = RakpCode {
        tag: 1,
        status: SetupStatus::OK,
        session_id: accepted.bmc_id,
        code,
    };
    let rakp4 = RakpCode::parse(&step(payload::RAKP3, &rakp3.encode())?).ok()?;
    let sik = handshake.sik(PASSWORD.as_bytes(), None);
    (rakp4.status.is_ok() && handshake.verify_rakp4(&sik, &rakp4.code))
        .then(|| (handshake.keys(&sik), accepted.bmc_id))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::packet::{ping, plain, pong};

    /// One to four changes: a byte, a bit, the end cut off, bytes added.
    fn mutate(random: &mut StdRng, sample: &[u8]) -> Vec<u8> {
        let mut data = sample.to_vec();
        for _ in 0..random.random_range(1..5) {
            let at = random.random_range(0..data.len().max(1));
            match random.random_range(0..5) {
                0 => data.truncate(at),
                1 => data.insert(at.min(data.len()), random.random()),
                2 => data.extend((0..random.random_range(0..40)).map(|_| random.random::<u8>())),
                3 => {
                    if let Some(byte) = data.get_mut(at) {
                        *byte = random.random();
                    }
                }
                _ => {
                    if let Some(byte) = data.get_mut(at) {
                        *byte ^= 1 << random.random_range(0..8);
                    }
                }
            }
        }
        data
    }

    fn run(target: fn(&[u8]), samples: &[Vec<u8>], rounds: u32) {
        let mut random = StdRng::seed_from_u64(0x1b4d);
        for sample in samples {
            target(sample);
            (0..sample.len()).for_each(|length| target(&sample[..length]));
            (0..rounds).for_each(|_| target(&mutate(&mut random, sample)));
        }
    }

    fn request(netfn: u8, command: u8, data: &[u8]) -> Vec<u8> {
        Request {
            netfn,
            lun: 0,
            command,
            sequence: 1,
            requester: CONSOLE,
            data: data.to_vec(),
        }
        .encode()
    }

    #[test]
    fn packets() {
        let sealed = |suite| {
            seal(
                &keys(suite),
                payload::IPMI,
                CONSOLE_ID,
                9,
                &request(0, 1, &[]),
                [1; 16],
            )
        };
        let samples = [
            ping(1),
            pong(1),
            plain(&request(6, 0x38, &[0x8e, 4])),
            sealed(CipherSuite::Suite3),
            sealed(CipherSuite::Suite17),
        ];
        run(fuzz_packet, &samples, 1000);
        run(fuzz_client, &samples, 500);
        run(fuzz_bmc, &samples, 100);
    }

    #[test]
    fn messages() {
        let samples = [
            request(0, 1, &[]),
            request(4, 2, &[1, 2, 3]),
            vec![0x81, 0x1c, 0x63, 0x20, 0x04, 0x38, 0x00, 1, 2, 3],
        ];
        run(fuzz_message, &samples, 2000);
        run(fuzz_client, &samples, 500);
        run(fuzz_bmc, &samples, 100);
    }

    #[test]
    fn setup_messages() {
        let open = OpenSessionRequest::proposing(CipherSuite::Suite17, 3, CONSOLE_ID).encode();
        let rakp1 = Rakp1 {
            tag: 3,
            bmc_id: 7,
            console_random: [5; 16],
            role: 0x14,
            username: b"u".to_vec(),
        }
        .encode();
        let code = RakpCode {
            tag: 3,
            status: SetupStatus::OK,
            session_id: 7,
            code: vec![9; 32],
        }
        .encode();
        let samples = [open, rakp1, code, vec![1; 80]];
        run(fuzz_setup, &samples, 2000);
        run(fuzz_bmc, &samples, 100);
    }

    #[test]
    fn commands_and_answers() {
        let samples = [
            vec![0x00, 0x02, 0x01],
            vec![0x00, 0x08, 0x05, 0xe0, 0x04, 0, 0, 0],
            vec![0x00, 0x08, 0x83],
            vec![0x00, 0x09, 0x05, 0, 0],
            vec![0x06, 0x3c, 1, 2, 3, 4],
            vec![0x06, 0x54, 0x0e, 0, 0x80],
            vec![0x06, 0x38, 0x8e, 4],
            vec![1, 5, 0xe0, 0x04, 0, 0, 0],
            vec![0x20, 1, 3, 0x45, 2, 0x80, 0x7c, 0x2a, 0, 2, 9, 0, 0, 0, 0],
        ];
        run(fuzz_answers, &samples, 1000);
        run(fuzz_bmc, &samples, 100);
    }

    #[test]
    fn the_login_of_the_fuzz_function_succeeds() {
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let mut bmc = Bmc::new(
            Settings::new(Users::administrator("u", PASSWORD.into())),
            Arc::new(MemoryChassis::new()),
        );
        let (keys, session) = log_in(&mut bmc, peer).expect("logged in");
        let answer = at_once(bmc.handle(
            &seal(
                &keys,
                payload::IPMI,
                session,
                1,
                &request(0, 1, &[]),
                [0; 16],
            ),
            peer,
        ));
        let Ok(Packet::Session(packet)) = Packet::parse(answer.as_deref().unwrap()) else {
            panic!("no answer in the session")
        };
        assert_eq!(
            Reply::parse(&packet.unseal(&keys).unwrap())
                .unwrap()
                .response
                .data,
            [0x60, 0, 0]
        );
    }
}
