//! The fields of a node as the API names them, each with a stable number: the stored document is a list
//! of these. Numbers are a stored format: never reuse one.

macro_rules! fields {
    ($($number:literal $variant:ident $name:literal $source:ident),* $(,)?) => {
        /// One field of a node's representation.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum NodeField {
            $($variant = $number),*
        }

        impl NodeField {
            /// In the order of the representation: uuid, times, then nearly alphabetical, as upstream lists them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            #[must_use]
            pub fn source(self) -> FieldSource {
                match self { $(Self::$variant => FieldSource::$source),* }
            }

            #[must_use]
            pub fn number(self) -> u16 {
                self as u16
            }

            #[must_use]
            pub fn from_number(number: u16) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

/// Where the value of a field comes from at output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldSource {
    /// The stored document.
    Document,
    /// A column that changes often: spliced in.
    Volatile,
    /// Made by the API (links and what follows from the URL).
    Api,
}

impl NodeField {
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|f| f.name() == name)
    }
}

fields! {
    1 Uuid "uuid" Document,
    2 CreatedAt "created_at" Document,
    3 UpdatedAt "updated_at" Volatile,
    4 AutomatedClean "automated_clean" Document,
    5 BiosInterface "bios_interface" Document,
    6 BootInterface "boot_interface" Document,
    7 BootMode "boot_mode" Volatile,
    8 CleanStep "clean_step" Volatile,
    9 ConductorGroup "conductor_group" Document,
    10 ConsoleEnabled "console_enabled" Volatile,
    11 ConsoleInterface "console_interface" Document,
    15 DisablePowerOff "disable_power_off" Document,
    12 DeployInterface "deploy_interface" Document,
    13 DeployStep "deploy_step" Volatile,
    14 Description "description" Document,
    16 Driver "driver" Document,
    17 DriverInfo "driver_info" Document,
    18 DriverInternalInfo "driver_internal_info" Volatile,
    19 Extra "extra" Document,
    20 Fault "fault" Volatile,
    21 FirmwareInterface "firmware_interface" Document,
    22 Health "health" Volatile,
    24 InspectionFinishedAt "inspection_finished_at" Volatile,
    25 InspectionStartedAt "inspection_started_at" Volatile,
    23 InspectInterface "inspect_interface" Document,
    26 InstanceInfo "instance_info" Document,
    27 InstanceName "instance_name" Document,
    28 InstanceUuid "instance_uuid" Document,
    29 LastError "last_error" Volatile,
    30 Lessee "lessee" Document,
    31 Maintenance "maintenance" Volatile,
    32 MaintenanceReason "maintenance_reason" Volatile,
    33 ManagementInterface "management_interface" Document,
    34 Name "name" Document,
    35 NetworkData "network_data" Document,
    36 NetworkInterface "network_interface" Document,
    37 Owner "owner" Document,
    38 ParentNode "parent_node" Document,
    39 PowerInterface "power_interface" Document,
    40 PowerState "power_state" Volatile,
    41 Properties "properties" Document,
    42 Protected "protected" Document,
    43 ProtectedReason "protected_reason" Document,
    44 ProvisionState "provision_state" Volatile,
    45 ProvisionUpdatedAt "provision_updated_at" Volatile,
    46 RaidConfig "raid_config" Document,
    47 RaidInterface "raid_interface" Document,
    48 RescueInterface "rescue_interface" Document,
    49 Reservation "reservation" Volatile,
    50 ResourceClass "resource_class" Document,
    51 Retired "retired" Document,
    52 RetiredReason "retired_reason" Document,
    53 SecureBoot "secure_boot" Volatile,
    54 ServiceStep "service_step" Volatile,
    55 Shard "shard" Document,
    56 StorageInterface "storage_interface" Document,
    57 TargetPowerState "target_power_state" Volatile,
    58 TargetProvisionState "target_provision_state" Volatile,
    59 TargetRaidConfig "target_raid_config" Document,
    60 Traits "traits" Document,
    61 VendorInterface "vendor_interface" Document,
    62 Links "links" Api,
    63 Conductor "conductor" Volatile,
    64 AllocationUuid "allocation_uuid" Volatile,
    65 ChassisUuid "chassis_uuid" Document,
    66 Ports "ports" Api,
    67 States "states" Api,
    68 Portgroups "portgroups" Api,
    69 Volume "volume" Api,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn numbers_and_names_are_unique() {
        let numbers: HashSet<_> = NodeField::ALL.iter().map(|f| f.number()).collect();
        let names: HashSet<_> = NodeField::ALL.iter().map(|f| f.name()).collect();
        assert_eq!(
            (numbers.len(), names.len()),
            (NodeField::ALL.len(), NodeField::ALL.len())
        );
        for f in NodeField::ALL {
            assert_eq!(NodeField::from_number(f.number()), Some(*f));
            assert_eq!(NodeField::parse(f.name()), Some(*f));
        }
    }
}
