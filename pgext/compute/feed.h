/*
 * The feed: the file through which compute and storage tell each other how far they are
 * (src/contracts/feed.h). Without one (acceptor form) every function does nothing.
 */
#ifndef TIDEWATER_COMPUTE_FEED_H
#define TIDEWATER_COMPUTE_FEED_H

#include "postgres.h"

/* Maps tidewater.feed_file, if it is set; ends the server if it is not this compute's. From _PG_init. */
extern void tide_feed_map(void);

/* Publishes how far WAL is flushed. Cheap; not in recovery. */
extern void tide_feed_publish(void);

/* Microseconds that a writer sleeps for each 64 KiB of WAL. */
extern uint64 tide_feed_throttle_us(void);

/* The storage says that a newer compute exists. */
extern bool tide_feed_is_fenced(void);

/* Ends the server, if fenced. */
extern void tide_feed_check_fenced(void);

/* A newer compute exists: logs it, ends the server and this process. */
extern void tide_end_fenced(const char *who_says) pg_attribute_noreturn();

#endif
