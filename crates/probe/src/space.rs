//! Disk space on Unix, from the file system itself.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{StatVfs, statvfs};

use crate::Disk;
use crate::roots::MOST_PLACES;
use crate::sense::DiskSense;

/// Asks the file system of each place.
pub(crate) struct Space {
    places: Vec<PathBuf>,
}

impl Space {
    pub(crate) fn new(places: &[PathBuf]) -> Space {
        Space { places: places.iter().take(MOST_PLACES).cloned().collect() }
    }
}

impl DiskSense for Space {
    fn disks(&mut self) -> Vec<Disk> {
        self.places.iter().map(|place| disk(place)).collect()
    }
}

fn disk(place: &Path) -> Disk {
    let Some(told) = nearest(place) else { return Disk { path: place.to_owned(), ..Disk::default() } };
    let total = told.f_blocks.saturating_mul(told.f_frsize);
    let available = told.f_bavail.saturating_mul(told.f_frsize).min(total);
    // A pseudo file system has no size, and that is no full disk.
    let real = total > 0;
    Disk { path: place.to_owned(), total: real.then_some(total), available: real.then_some(available) }
}

/// What the file system says at `place`, or where that does not exist, at the nearest directory above.
fn nearest(place: &Path) -> Option<StatVfs> {
    for directory in place.ancestors() {
        // The last ancestor of a relative path is empty, and means the working directory.
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        match statvfs(directory) {
            Ok(told) => return Some(told),
            Err(error) if io::Error::from(error).kind() == io::ErrorKind::NotFound => {}
            Err(_) => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_does_not_exist_yet_is_on_the_disk_of_its_parent() {
        let dir = tempfile::tempdir().unwrap();
        let later = dir.path().join("models/blobs");
        let disks = Space::new(&[dir.path().to_owned(), later.clone()]).disks();
        assert_eq!(disks[1].path, later);
        assert_eq!(disks[0].total, disks[1].total);
        assert!(disks[0].total.is_some_and(|total| total > 0));
        assert!(disks[0].available <= disks[0].total);
    }

    #[test]
    fn what_has_no_size_is_not_a_full_disk() {
        for place in ["/proc", "a\0b"] {
            let disk = disk(Path::new(place));
            #[cfg(target_os = "linux")]
            assert_eq!((disk.total, disk.available), (None, None), "{place:?}");
            assert_eq!(disk.path, Path::new(place));
        }
    }

    #[test]
    fn no_more_places_than_the_first_sixteen() {
        assert_eq!(Space::new(&vec![PathBuf::from("/"); 40]).disks().len(), MOST_PLACES);
    }
}
