/* What a router answers (RFC 1812, section 4.3). The node's kernel sends it, from the address that the sender knows it by. */
#pragma once
#include "packet.h"
#include <netinet/ip_icmp.h>
#include <sys/socket.h>
#include <time.h>

/* As net.ipv4.icmp_msgs_per_sec. */
#define ICMP_PER_SECOND 1000
/* An answer is at most this long, its own IP header included. */
#define ICMP_MAX 576

/* Raw ICMP; as the kernel refuses packets from a device with an address of its own, they cannot go by way of the TUN. */
static int icmp_socket;

/* Nothing is said about errors, later fragments, or what does not come from one host and go to one (RFC 1122, 3.2.2). */
static bool may_answer(const struct iphdr *ip, size_t length) {
  static time_t second;
  static unsigned sent;
  if (ip->frag_off & htons(IP_OFFMASK)) return false;
  uint32_t from = ntohl(ip->saddr) >> 24, to = ntohl(ip->daddr) >> 24;
  if (from == 0 || from == 127 || from >= 224 || to >= 224) return false;
  if (ip->protocol == IPPROTO_ICMP) {
    if (length <= ip_header(ip)) return false;
    uint8_t type = ((const uint8_t *)ip)[ip_header(ip)];
    if (type != ICMP_ECHO && type != ICMP_ECHOREPLY && type != ICMP_TIMESTAMP && type != ICMP_TIMESTAMPREPLY) return false;
  }
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  if (now.tv_sec != second) sent = 0;
  second = now.tv_sec;
  return sent++ < ICMP_PER_SECOND;
}

/* `length`: as much of the packet as there is to quote. */
static void answer(const struct iphdr *about, size_t length, uint8_t type, uint8_t code, uint16_t mtu) {
  stats.dropped++;
  if (!may_answer(about, length)) return;
  struct {
    struct icmphdr head;
    uint8_t quote[ICMP_MAX - sizeof(struct iphdr) - sizeof(struct icmphdr)];
  } message = {.head = {.type = type, .code = code}};
  message.head.un.frag.mtu = htons(mtu);
  if (length > sizeof message.quote) length = sizeof message.quote;
  memcpy(message.quote, about, length);
  message.head.checksum = (uint16_t)~fold(add(0, &message, sizeof message.head + length));
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = about->saddr};
  if (sendto(icmp_socket, &message, sizeof message.head + length, MSG_DONTWAIT, (struct sockaddr *)&to, sizeof to) > 0)
    stats.icmp_sent++;
}
