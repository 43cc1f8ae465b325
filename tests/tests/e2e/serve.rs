//! `isomer-run serve`, over real sockets. What goes wrong with guests, clients and machines is elsewhere.

mod hostile;
mod messages;
