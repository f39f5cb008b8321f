//! Is a new container as its user expects?
