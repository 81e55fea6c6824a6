/*
 * Which forks of a relation exist, and their local files.
 */
#ifndef TIDEWATER_COMPUTE_FORK_FILES_H
#define TIDEWATER_COMPUTE_FORK_FILES_H

#include "cache_map.h"

/*
 * The relation's entry with this fork's state known. At the first touch the page store is asked, and a
 * sparse local file of the fork's size is made, so that md.c works on it as on any file.
 */
extern TideRelation *tide_known_fork(const RelFileNode *node, ForkNumber fork);

/* The relation turns out to be unlogged: from now on only md.c looks after it. */
extern void tide_make_local_only(TideRelation *relation);

/* A fork's file was created by this compute. For a main fork, the relation is new. */
extern void tide_fork_created(const RelFileNode *node, ForkNumber fork);

/* ERROR if the page store knows a relation under this number. */
extern void tide_check_number_unused(const RelFileNode *node);

/* Writes the path of the fork's segment into path (MAXPGPATH); allocates nothing. */
extern void tide_segment_path(char *path, const RelFileNode *node, ForkNumber fork,
							  BlockNumber segment);

#endif
