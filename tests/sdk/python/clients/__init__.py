"""The clients: each turns a `Wish` into a call of its package and the package's answer into `Said`."""
