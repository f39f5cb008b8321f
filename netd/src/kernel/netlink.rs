//! How are links, addresses, routes and neighbours read and changed?
