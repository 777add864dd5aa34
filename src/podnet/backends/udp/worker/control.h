/*
 * How the agent speaks to the worker: a unix socket (SOCK_SEQPACKET) for root alone, one line a request, one message an
 * answer: what was asked, "ok", or "error: REASON".
 *
 *   show                              what this worker is and has done, NAME VALUE a line
 *   list FROM                         peers from the FROMth on, as many as fit: CIDR ADDRESS:PORT a line
 *   set CIDR ADDRESS:PORT             packets to CIDR go to that node
 *   delete CIDR                       they go nowhere; one that is not there is no error
 *   stop                              ends the worker, the device stays for the next
 *   remove                            ends the worker and its device
 */
#pragma once
#include "peers.h"
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* Of what is said here; an agent replaces a worker that speaks another version. */
#define PROTOCOL 1
#define REQUEST_MAX 128
#define ANSWER_MAX 32768

static struct sockaddr_in local;
static const char *control_path;
static bool ended;
static int tun_fd, udp_fd;
static bool tun_udp_gso, udp_gso;

struct text {
  char data[ANSWER_MAX];
  size_t length;
};

__attribute__((format(printf, 2, 3))) static void print(struct text *text, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  size_t room = sizeof text->data - text->length;
  int length = vsnprintf(text->data + text->length, room, format, arguments);
  va_end(arguments);
  text->length += length < (int)room ? (size_t)length : room - 1;
}

/* A decimal number without sign, spaces or leading zero, and what ends it. */
static bool read_number(const char **at, unsigned max, char end, unsigned *value) {
  const char *begin = *at;
  *value = 0;
  while (**at >= '0' && **at <= '9' && *at - begin < 6) *value = *value * 10 + (unsigned)(*(*at)++ - '0');
  bool good = *at > begin && (*begin != '0' || *at == begin + 1) && *value <= max && **at == end;
  if (good && end != '\0') (*at)++;
  return good;
}

static bool read_address(const char **at, char end, uint32_t *address) {
  unsigned part[4];
  for (int i = 0; i < 4; i++)
    if (!read_number(at, 255, i < 3 ? '.' : end, &part[i])) return false;
  *address = part[0] << 24 | part[1] << 16 | part[2] << 8 | part[3];
  return true;
}

static const char *read_cidr(const char **at, char end, struct peer *peer) {
  if (!read_address(at, '/', &peer->network) || !read_number(at, 32, end, &peer->length))
    return "not CIDR: an IPv4 network is written like 10.244.2.0/24";
  if (peer->network & ~mask_of(peer->length)) return "CIDR has bits beyond its prefix length";
  return NULL;
}

static const char *read_peer(const char *at, struct peer *peer) {
  uint32_t address;
  unsigned port;
  const char *wrong = read_cidr(&at, ' ', peer);
  if (wrong != NULL) return wrong;
  if (!read_address(&at, ':', &address) || !read_number(&at, 65535, '\0', &port) || port == 0)
    return "not ADDRESS:PORT: a node is written like 192.0.2.2:8285";
  if (address >> 24 == 0 || address >> 24 == 127 || address >> 28 >= 14) return "ADDRESS is not one of a node";
  peer->address = (struct sockaddr_in){
      .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(address)};
  if (peer->address.sin_addr.s_addr == local.sin_addr.s_addr) return "ADDRESS is this node's own";
  return NULL;
}

static void show(struct text *text) {
  struct ifreq device = {0};
  if (ioctl(tun_fd, TUNGETIFF, &device) < 0) device.ifr_name[0] = '\0';
  char address[INET_ADDRSTRLEN];
  inet_ntop(AF_INET, &local.sin_addr, address, sizeof address);
  print(text, "protocol %d\ndevice %s\nlocal %s\nport %d\npid %d\n", PROTOCOL, device.ifr_name, address,
        ntohs(local.sin_port), (int)getpid());
  if (ioctl(udp_fd, SIOCGIFMTU, &device) == 0) print(text, "mtu %d\n", device.ifr_mtu);
  print(text, "peers %zu\nudp-segmentation %d\ntun-udp-segmentation %d\n", peers.count, udp_gso, tun_udp_gso);
  print(text, "sent-packets %llu\nsent-bytes %llu\n", (unsigned long long)stats.tx_packets,
        (unsigned long long)stats.tx_bytes);
  print(text, "received-packets %llu\nreceived-bytes %llu\n", (unsigned long long)stats.rx_packets,
        (unsigned long long)stats.rx_bytes);
  print(text, "dropped-packets %llu\nicmp-sent %llu\n", (unsigned long long)stats.dropped,
        (unsigned long long)stats.icmp_sent);
}

static void list(struct text *text, size_t from) {
  for (size_t i = from; i < peers.count && ANSWER_MAX - text->length > 64; i++) {
    char network[INET_ADDRSTRLEN], address[INET_ADDRSTRLEN];
    uint32_t number = htonl(peers.all[i].network);
    inet_ntop(AF_INET, &number, network, sizeof network);
    inet_ntop(AF_INET, &peers.all[i].address.sin_addr, address, sizeof address);
    print(text, "%s/%u %s:%u\n", network, peers.all[i].length, address, ntohs(peers.all[i].address.sin_port));
  }
}

/* NULL: the answer is in `text`, or is "ok" if that is empty. */
static const char *handle(const char *request, struct text *text) {
  struct peer peer = {0};
  const char *wrong = NULL, *rest = strchr(request, ' ');
  size_t verb = rest == NULL ? strlen(request) : (size_t)(rest - request);
  rest = rest == NULL ? "" : rest + 1;
#define IS(name) (verb == strlen(name) && memcmp(request, name, verb) == 0)
  if (IS("set")) {
    wrong = read_peer(rest, &peer);
    return wrong != NULL ? wrong : set_peer(peer);
  }
  if (IS("delete")) {
    wrong = read_cidr(&rest, '\0', &peer);
    if (wrong == NULL) delete_peer(peer.network, peer.length);
    return wrong;
  }
  if (IS("list")) {
    unsigned from;
    if (!read_number(&rest, PEERS_MAX, '\0', &from)) return "list takes the number of peers to pass over";
    list(text, from);
    return NULL;
  }
  if (*rest != '\0') return "unknown request";
  if (IS("show")) show(text);
  else if (IS("stop") || IS("remove")) {
    if (IS("remove")) ioctl(tun_fd, TUNSETPERSIST, 0);
    unlink(control_path);
    /* Whoever has the answer can have the device and the port. */
    close(tun_fd);
    close(udp_fd);
    ended = true;
  } else return "unknown request";
#undef IS
  return NULL;
}

/* One request of a client; false when it has gone. */
static bool serve(int client) {
  static struct text answer_text;
  char request[REQUEST_MAX];
  ssize_t got = recv(client, request, sizeof request, MSG_DONTWAIT | MSG_TRUNC);
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  if (got == 0) return false;
  answer_text.length = 0;
  const char *wrong = "the request is too long, or has a byte 0 within";
  if ((size_t)got < sizeof request && memchr(request, '\0', (size_t)got) == NULL) {
    request[got] = '\0';
    wrong = handle(request, &answer_text);
  }
  if (wrong != NULL) print(&answer_text, "error: %s", wrong);
  else if (answer_text.length == 0 && strncmp(request, "list", 4) != 0) print(&answer_text, "ok");
  /* An empty list is a lone newline: an empty message would look like the end. */
  if (answer_text.length == 0) print(&answer_text, "\n");
  bool sent = send(client, answer_text.data, answer_text.length, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
  if (ended) exit(0);
  return sent;
}

/* A new client, if it is root's; else -1. */
static int greet(int listener) {
  struct ucred who;
  socklen_t size = sizeof who;
  int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (client < 0) return -1;
  if (getsockopt(client, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0 && who.uid == 0) return client;
  close(client);
  return -1;
}
