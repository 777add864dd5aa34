/* Which node a pod CIDR's packets go to. */
#pragma once
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PEERS_MAX 65536

struct peer {
  uint32_t network; /* host order */
  uint32_t length;
  struct sockaddr_in address;
};

/* Longest prefixes first, then by network. */
static struct {
  struct peer *all;
  size_t count, room;
  uint64_t lengths;      /* bit n: there is a prefix of n bits */
  uint32_t last_address; /* what was looked up last, and its answer */
  struct peer *last;
} peers;

static uint32_t mask_of(uint32_t length) { return length == 0 ? 0 : UINT32_MAX << (32 - length); }

/* Where the prefix is, or would have to be. */
static size_t find_place(uint32_t network, uint32_t length, bool *found) {
  size_t low = 0, high = peers.count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    const struct peer *peer = &peers.all[middle];
    if (peer->length > length || (peer->length == length && peer->network < network)) low = middle + 1;
    else high = middle;
  }
  *found = low < peers.count && peers.all[low].length == length && peers.all[low].network == network;
  return low;
}

static void peers_changed(void) {
  peers.last = NULL;
  peers.lengths = 0;
  for (size_t i = 0; i < peers.count; i++) peers.lengths |= UINT64_C(1) << peers.all[i].length;
}

/* NULL, or why not. */
static const char *set_peer(struct peer peer) {
  bool found;
  size_t place = find_place(peer.network, peer.length, &found);
  if (!found) {
    if (peers.count == PEERS_MAX) return "too many peers";
    if (peers.count == peers.room) {
      size_t room = peers.room == 0 ? 64 : peers.room * 2;
      struct peer *all = realloc(peers.all, room * sizeof peer);
      if (all == NULL) return "out of memory";
      peers.all = all;
      peers.room = room;
    }
    memmove(&peers.all[place + 1], &peers.all[place], (peers.count - place) * sizeof peer);
    peers.count++;
  }
  peers.all[place] = peer;
  peers_changed();
  return NULL;
}

static void delete_peer(uint32_t network, uint32_t length) {
  bool found;
  size_t place = find_place(network, length, &found);
  if (!found) return;
  peers.count--;
  memmove(&peers.all[place], &peers.all[place + 1], (peers.count - place) * sizeof *peers.all);
  peers_changed();
}

/* The peer behind an address in network order, by the longest prefix. */
static struct peer *find_peer(uint32_t destination) {
  if (peers.last != NULL && peers.last_address == destination) return peers.last;
  for (uint64_t left = peers.lengths; left != 0;) {
    uint32_t length = 63u - (uint32_t)__builtin_clzll(left);
    left &= ~(UINT64_C(1) << length);
    bool found;
    size_t place = find_place(ntohl(destination) & mask_of(length), length, &found);
    if (!found) continue;
    peers.last_address = destination;
    return peers.last = &peers.all[place];
  }
  return NULL;
}
