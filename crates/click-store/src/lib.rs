//! Both sides of the stores.
