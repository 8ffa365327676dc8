//! `[DEFAULT]`: what concerns every part.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use super::{list, seconds};
use crate::types::{AuthStrategy, NotificationLevel, host_name};

section! {
    /// What concerns every part: identity, authentication, hardware types and interfaces.
    Defaults = "DEFAULT" {
        #[reader("conductor, api")]
        /// Name of this conductor, unique among all. A restarted conductor must keep it.
        host: String = host_name(),
        #[reader("conductor, netboot, server")]
        /// Address of this machine as nodes reach it; default of several URLs below.
        my_ip: IpAddr = IpAddr::from([127, 0, 0, 1]),
        #[reader("server, conductor, netboot")]
        /// Directory for everything that must outlive a restart: database, generated boot files, certificates of agents.
        state_path: PathBuf = "/var/lib/bessemer".into(),
        #[reader("conductor")]
        /// How long running phases may take to end when the service is drained (SIGUSR2); 0 = as long as they want.
        drain_shutdown_timeout: Duration = seconds(1800),
        #[reader("api")]
        /// Who may call the API: holders of Keystone tokens, as the policy says (keystone); users of a password file, who may do everything (http_basic); everyone (noauth). There is no default.
        auth_strategy: Option<AuthStrategy> = None,
        #[reader("api")]
        /// Password file for http_basic: Apache htpasswd, bcrypt entries only (`htpasswd -nbB user password`). Read anew when it changes.
        http_basic_auth_user_file: PathBuf = "/etc/bessemer/htpasswd".into(),
        #[reader("server")]
        /// The least important notifications that are sent: debug, info, warning, error, critical. Not set: no notifications. They go to the message bus when `[oslo_messaging_notifications] driver` says so, and to `[notifications] webhook_urls`.
        notification_level: Option<NotificationLevel> = None,
        #[reader("server")]
        /// Topics of the versioned notifications on the message bus; the level is added to each.
        versioned_notifications_topics: Vec<String> = list(&["ironic_versioned_notifications"]),
        #[reader("server")]
        /// The message bus: `rabbit://user:password@host:port/vhost`, several hosts separated by commas.
        transport_url: Option<SecretString> = None,
        #[reader("server")]
        /// Exchange of the message bus that messages are published to.
        control_exchange: String = "ironic".into(),
        #[reader("api")]
        /// Let holders of the role `service` in the service project act as system members, as older services expect.
        rbac_service_role_elevated_access: bool = false,
        #[reader("api")]
        /// Name of the service project.
        rbac_service_project_name: String = "service".into(),
        #[reader("api")]
        /// `resource_class` of a new node that names none.
        default_resource_class: Option<String> = None,
        #[reader("api")]
        /// `conductor_group` of a new node that names none.
        default_conductor_group: String = String::new(),
        #[reader("api")]
        /// `mode` of a new port group that names none: a mode of Linux' bonding driver.
        default_portgroup_mode: String = "active-backup".into(),
        #[reader("netboot")]
        /// What a BIOS starts from images for virtual media: ISOLINUX (Debian: package isolinux) or an El Torito image of GRUB. When it is not there, such images boot UEFI machines only.
        isolinux_bin: PathBuf = "/usr/lib/ISOLINUX/isolinux.bin".into(),
        #[reader("netboot")]
        /// The part of ISOLINUX that it loads (Debian: package syslinux-common); GRUB needs none.
        ldlinux_c32: PathBuf = "/usr/lib/syslinux/modules/bios/ldlinux.c32".into(),
        #[reader("drivers")]
        /// Hardware types that nodes may use.
        enabled_hardware_types: Vec<String> = list(&["ipmi", "redfish"]),
        #[reader("drivers")]
        /// Implementations of the bios interface that nodes may use. Not set: all that the enabled hardware types support.
        enabled_bios_interfaces: Option<Vec<String>> = None,
        #[reader("drivers")]
        /// Bios interface of a new node that names none. Not set: the first that its hardware type and the enabled ones share.
        default_bios_interface: Option<String> = None,
        #[reader("drivers")]
        /// Implementations of the boot interface that nodes may use. Not set: all that the enabled hardware types support.
        enabled_boot_interfaces: Option<Vec<String>> = None,
        #[reader("drivers")]
        /// Boot interface of a new node that names none. Not set: the first that its hardware type and the enabled ones share.
        default_boot_interface: Option<String> = None,
        #[reader("drivers")]
        /// Implementations of the console interface that nodes may use. Not set: all that the enabled hardware types support.
        enabled_console_interfaces: Option<Vec<String>> = None,
        #[reader("drivers")]
        /// Console interface of a new node that names none. Not set: the first that its hardware type and the enabled ones share.
        default_console_interface: Option<String> = None,
        #[reader("drivers")]
        /// Implementations of the deploy interface that nodes may use. Not set: all that the enabled hardware types support.
        enabled_deploy_interfaces: Option<Vec<String>> = None,
        #[reader("drivers")]
        /// Deploy interface of a new node that names none. Not set: the first that its hardware type and the enabled ones share.
        default_deploy_interface: Option<String> = None,
        #[reader("drivers")]
        /// Implementations of the firmware interface that nodes may use. Not set: all that the enabled hardware types support.
        enabled_firmware_interfaces: Option<Vec<String>> = None,
        #[reader("drivers")]
        /// Firmware interface of a new node that names none. Not set: the first that its hardware type and the enabled ones share.
        default_firmware_interface: Option<String> = None,
        #[reader("drivers")]
        /// Implementations of the inspect interface that nodes may use. Not set: all that the enabled hardware types support.
        enabled_inspect_interfaces: Option<Vec<String>> = None,
        #[reader("drivers")]
        /// Inspect interface of a new node that names none. Not set: the first that its hardware type and the enabled ones share.
        default_inspect_interface: Option<String> = None,
        #[reader("drivers")]
        /// Implementations of the management interface that nodes may use. Not set: all that the enabled hardware types support.
        enabled_management_interfaces: Option<Vec<String>> = None,
        #[reader("drivers")]
        /// Management interface of a new node that names none. Not set: the first that its hardware type and the enabled ones share.
        default_management_interface: Option<String> = None,
        #[reader("drivers")]
        /// Implementations of the network interface that nodes may use. Not set: all that the enabled hardware types support.
        enabled_network_interfaces: Option<Vec<String>> = None,
        #[reader("drivers")]
        /// Network interface of a new node that names none. Not set: the first that its hardware type and the enabled ones share.
        default_network_interface: Option<String> = None,
        #[reader("drivers")]
        /// Implementations of the power interface that nodes may use. Not set: all that the enabled hardware types support.
        enabled_power_interfaces: Option<Vec<String>> = None,
        #[reader("drivers")]
        /// Power interface of a new node that names none. Not set: the first that its hardware type and the enabled ones share.
        default_power_interface: Option<String> = None,
        #[reader("drivers")]
        /// Implementations of the raid interface that nodes may use. Not set: all that the enabled hardware types support.
        enabled_raid_interfaces: Option<Vec<String>> = None,
        #[reader("drivers")]
        /// Raid interface of a new node that names none. Not set: the first that its hardware type and the enabled ones share.
        default_raid_interface: Option<String> = None,
        #[reader("drivers")]
        /// Implementations of the rescue interface that nodes may use. Not set: all that the enabled hardware types support.
        enabled_rescue_interfaces: Option<Vec<String>> = None,
        #[reader("drivers")]
        /// Rescue interface of a new node that names none. Not set: the first that its hardware type and the enabled ones share.
        default_rescue_interface: Option<String> = None,
        #[reader("drivers")]
        /// Implementations of the storage interface that nodes may use. Not set: all that the enabled hardware types support.
        enabled_storage_interfaces: Option<Vec<String>> = None,
        #[reader("drivers")]
        /// Storage interface of a new node that names none. Not set: the first that its hardware type and the enabled ones share.
        default_storage_interface: Option<String> = None,
        #[reader("drivers")]
        /// Implementations of the vendor interface that nodes may use. Not set: all that the enabled hardware types support.
        enabled_vendor_interfaces: Option<Vec<String>> = None,
        #[reader("drivers")]
        /// Vendor interface of a new node that names none. Not set: the first that its hardware type and the enabled ones share.
        default_vendor_interface: Option<String> = None,
    }
}
