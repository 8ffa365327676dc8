//! Clients of sushy-tools' emulator.

use std::time::Duration;

use bessemer_redfish::{Address, AuthType, Client, Target, Timing, TlsPolicy, Transports};

pub use bessemer_peers::eventually;
pub use bessemer_peers::sushy::{Emulator, PASSWORD, USER};

pub fn target(address: &str) -> Target {
    Target {
        address: Address::parse(address).unwrap(),
        system: None,
        username: USER.into(),
        password: PASSWORD.into(),
        auth: AuthType::Auto,
        tls: TlsPolicy::default(),
    }
}

pub fn transports() -> Transports {
    Transports::new(Duration::from_secs(5), Duration::from_secs(30))
}

pub fn client(target: Target) -> Client {
    let timing = Timing {
        request: Duration::from_secs(20),
        attempts: 2,
        pause: Duration::from_millis(20),
    };
    Client::new(target, timing, &transports()).unwrap()
}
