//! Says what the tray shows and what a click means.
