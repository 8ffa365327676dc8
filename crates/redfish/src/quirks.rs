//! What boards do differently: a table, one row per kind of board, each with the source of what it says.
//!
//! No other place asks for a vendor. A row is chosen by the vendor as the service root names it, else by the system's
//! manufacturer, and by the model's beginning where a row gives one; the first that fits counts.

/// What is done differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quirks {
    /// `BootSourceOverrideEnabled` goes along with every boot device, also when it does not change. (Other boards refuse it then.)
    pub always_send_enabled: bool,
    /// Mode, duration and target of the boot device always go together.
    pub full_boot_request: bool,
    /// The boot mode is written again after the boot device, since setting that resets it.
    pub restore_boot_mode: bool,
    /// Virtual CDs are booted as USB CDs.
    pub usb_cd: bool,
    /// The only slot of virtual media that can be booted.
    pub only_slot: Option<&'static str>,
}

/// A kind of board.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub name: &'static str,
    /// Part of the vendor's name, in lower case.
    pub vendor: &'static str,
    /// Whether that is the whole name.
    pub exact: bool,
    /// Beginning of the manager's model; empty: any.
    pub model: &'static str,
    pub quirks: Quirks,
    /// Where this is told.
    pub source: &'static str,
}

const NONE: Quirks = Quirks {
    always_send_enabled: false,
    full_boot_request: false,
    restore_boot_mode: false,
    usb_cd: false,
    only_slot: None,
};

const FULL: Quirks = Quirks {
    full_boot_request: true,
    ..NONE
};

/// The table.
pub const ROWS: &[Row] = &[
    Row {
        name: "Supermicro",
        vendor: "supermicro",
        exact: true,
        model: "",
        quirks: Quirks {
            always_send_enabled: true,
            restore_boot_mode: true,
            usb_cd: true,
            ..NONE
        },
        source: "OpenStack stories 2008547 and 2008712 (boot device); sushy release notes 4.1 (UsbCd on X11 and X12)",
    },
    Row {
        name: "AMI MegaRAC",
        vendor: "american megatrends international",
        exact: false,
        model: "",
        quirks: FULL,
        source: "Ironic 39.0, drivers/modules/redfish/management.py, vendors that require a full boot request",
    },
    Row {
        name: "AMI MegaRAC, short",
        vendor: "ami",
        exact: true,
        model: "",
        quirks: FULL,
        source: "Ironic 39.0, as above",
    },
    Row {
        name: "ASRock Rack",
        vendor: "asrockrack",
        exact: false,
        model: "",
        quirks: FULL,
        source: "Ironic 39.0, as above",
    },
    Row {
        name: "redfish_compatible",
        vendor: "redfish_compatible",
        exact: false,
        model: "",
        quirks: FULL,
        source: "Ironic 39.0, as above",
    },
    Row {
        name: "Dell iDRAC 10",
        vendor: "dell",
        exact: false,
        model: "17G",
        quirks: Quirks {
            only_slot: Some("1"),
            ..NONE
        },
        source: "Ironic 39.0, drivers/modules/drac/boot.py: from the 17th generation on only slot 1 can be booted",
    },
];

/// What is done differently on a board.
#[must_use]
pub fn of(vendor: Option<&str>, model: Option<&str>) -> Quirks {
    let vendor = vendor.unwrap_or_default().to_ascii_lowercase();
    ROWS.iter()
        .find(|row| {
            let fits = if row.exact {
                vendor == row.vendor
            } else {
                vendor.contains(row.vendor)
            };
            fits && model.unwrap_or_default().starts_with(row.model)
        })
        .map_or(NONE, |row| row.quirks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_reached_and_says_why() {
        for row in ROWS {
            assert_eq!(
                of(Some(row.vendor), Some(row.model)),
                row.quirks,
                "{}",
                row.name
            );
            assert!(!row.source.is_empty() && row.quirks != NONE, "{}", row.name);
        }
        for (vendor, model) in [
            (None, None),
            (Some("HPE"), None),
            (Some("Dell Inc."), Some("16G Monolithic")),
            (Some("Miami"), None),
        ] {
            assert_eq!(of(vendor, model), NONE, "{vendor:?}");
        }
        assert!(of(Some("Supermicro"), None).usb_cd);
        assert_eq!(
            of(Some("Dell Inc."), Some("17G Monolithic")).only_slot,
            Some("1")
        );
    }
}
