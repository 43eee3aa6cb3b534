//! Disk space on Windows. Built elsewhere for its tests only.

use std::path::PathBuf;

use sysinfo::{DiskRefreshKind, Disks};

use crate::Disk;
use crate::roots::MOST_PLACES;
use crate::sense::DiskSense;

/// Space on the drives that places are on.
pub(crate) struct Drives {
    drives: Option<Disks>,
    places: Vec<PathBuf>,
}

impl Drives {
    pub(crate) fn new(places: &[PathBuf]) -> Drives {
        Drives { drives: Disks::new().ok(), places: places.iter().take(MOST_PLACES).cloned().collect() }
    }
}

impl DiskSense for Drives {
    fn disks(&mut self) -> Vec<Disk> {
        if let Some(drives) = &mut self.drives {
            drives.refresh_specifics(true, DiskRefreshKind::nothing().with_storage());
        }
        let disk = |place: &PathBuf| {
            let whole = std::path::absolute(place).unwrap_or_else(|_| place.clone());
            let drives = self.drives.iter().flatten();
            let above = drives.filter(|drive| whole.starts_with(drive.mount_point()));
            let drive = above.max_by_key(|drive| drive.mount_point().components().count());
            let drive = drive.filter(|drive| drive.total_space() > 0);
            Disk {
                path: place.clone(),
                total: drive.map(|drive| drive.total_space()),
                available: drive.map(|drive| drive.available_space().min(drive.total_space())),
            }
        };
        self.places.iter().map(disk).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_on_the_drive_that_is_mounted_nearest_above() {
        let place = std::env::current_dir().unwrap().join("not yet/there");
        let disks = Drives::new(&[place.clone(), PathBuf::from("not yet")]).disks();
        assert_eq!(disks[0].path, place);
        assert_eq!(disks[0].total, disks[1].total);
        assert!(disks[0].available <= disks[0].total);
    }
}
