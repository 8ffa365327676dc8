//! Hardware types.

use std::time::Duration;

use super::seconds;
use crate::types::FakeDelay;

section! {
    /// IPMI.
    Ipmi = "ipmi" {
        #[reader("drivers")]
        /// Longest time that a command is repeated to a BMC that does not answer.
        command_retry_timeout: Duration = seconds(60),
        #[reader("drivers")]
        /// Ask BMCs not to drop the boot device after 60 seconds. A node's `ipmi_disable_boot_timeout` goes first.
        disable_boot_timeout: bool = true,
        #[reader("drivers")]
        /// Cipher suites that may be used, best first. Empty: 17, then 3.
        cipher_suite_versions: Vec<String> = Vec::new(),
    }
}

section! {
    /// Redfish.
    Redfish = "redfish" {
        #[reader("drivers")]
        /// How to log in: `basic`, `session`, or `auto` (a session where the BMC has any). A node's `redfish_auth_type` goes first.
        auth_type: String = "auto".into(),
        #[reader("drivers")]
        /// File or directory with certificates that are trusted for nodes whose `redfish_verify_ca` is absent or true. Not set: the system's authorities.
        verify_ca: Option<String> = None,
        #[reader("drivers")]
        /// Oldest version of TLS: `1.1` (which means 1.2), `1.2`, `1.3`. Not set: 1.2. A node's `redfish_tls_minimum_version` goes first.
        tls_minimum_version: Option<String> = None,
        #[reader("drivers")]
        /// Cipher suites, in OpenSSL's names, separated by colons. Not set: all. A node's `redfish_tls_ciphers` goes first.
        tls_ciphers: Option<String> = None,
        #[reader("drivers")]
        /// Tries of a reading request that finds the BMC away.
        connection_attempts: u32 = 5,
        #[reader("drivers")]
        /// Time between them.
        connection_retry_interval: Duration = seconds(4),
        #[reader("drivers")]
        /// Longest time for a connection.
        connect_timeout: Duration = seconds(30),
        #[reader("drivers")]
        /// Longest time for a request.
        read_timeout: Duration = seconds(60),
        #[reader("drivers")]
        /// How long a boot mode or secure boot may take until it is in force after the restart. 0: not waited for.
        boot_mode_config_timeout: Duration = seconds(900),
        #[reader("drivers")]
        /// Time between looks at volumes that are being made or deleted.
        raid_config_status_interval: Duration = seconds(60),
        #[reader("drivers")]
        /// Time between looks at firmware updates and at BIOS settings that come into force.
        firmware_update_status_interval: Duration = seconds(60),
        #[reader("drivers")]
        /// Longest time for all updates of a step.
        firmware_update_overall_timeout: Duration = seconds(7200),
        #[reader("drivers")]
        /// Set the BMC's clock, when it is wrong by more than a second, while a node is verified.
        enable_verify_bmc_clock: bool = false,
    }
}

section! {
    /// What the fake interfaces pretend to take, for tests and load runs.
    Fake = "fake" {
        #[reader("drivers")]
        /// Power actions.
        power_delay: FakeDelay = FakeDelay::default(),
        #[reader("drivers")]
        /// Each deploy or clean step.
        deploy_delay: FakeDelay = FakeDelay::default(),
        #[reader("drivers")]
        /// Boot device and the like.
        management_delay: FakeDelay = FakeDelay::default(),
        #[reader("drivers")]
        /// Vendor methods and steps.
        vendor_delay: FakeDelay = FakeDelay::default(),
        #[reader("drivers")]
        /// Inspection.
        inspect_delay: FakeDelay = FakeDelay::default(),
        #[reader("drivers")]
        /// BIOS steps.
        bios_delay: FakeDelay = FakeDelay::default(),
        #[reader("drivers")]
        /// Firmware steps.
        firmware_delay: FakeDelay = FakeDelay::default(),
        #[reader("drivers")]
        /// Attaching and detaching of volumes.
        storage_delay: FakeDelay = FakeDelay::default(),
        #[reader("drivers")]
        /// Rescue and unrescue.
        rescue_delay: FakeDelay = FakeDelay::default(),
    }
}
