//! `isomer-run serve`, over real sockets. What goes wrong with guests, clients and machines is elsewhere.

mod grants;
mod hostile;
mod messages;
mod outgoing;

mod metrics;
mod routes;
mod versions;

mod handover;
mod systemd;
mod tls;
