/* IPv4 packets: their checksums (RFC 1071), and what they have in common for both ways through the worker. */
#pragma once
#include <arpa/inet.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define IP_MAX 65535
/* The octet of a TCP header with the flags (RFC 9293 and 3168). */
#define TCP_FLAGS 13
#define TCP_CWR 0x80

static struct {
  uint64_t tx_packets, tx_bytes, rx_packets, rx_bytes, dropped, icmp_sent;
} stats;

/* Sum of 16-bit words in the machine's order; pieces may be added up if all but the last have an even length. */
static uint64_t add(uint64_t sum, const void *data, size_t length) {
  const uint8_t *at = data;
  unsigned __int128 wide = sum;
  uint64_t words[4];
  for (; length >= sizeof words; length -= sizeof words, at += sizeof words) {
    memcpy(words, at, sizeof words);
    wide += words[0];
    wide += words[1];
    wide += words[2];
    wide += words[3];
  }
  for (; length > 0; length -= length < 8 ? length : 8, at += 8) {
    uint64_t last = 0;
    memcpy(&last, at, length < 8 ? length : 8);
    wide += last;
  }
  uint64_t low = (uint64_t)wide;
  low = (low & 0xffffffff) + (low >> 32) + (uint64_t)(wide >> 64);
  return (low & 0xffffffff) + (low >> 32);
}

static uint16_t fold(uint64_t sum) {
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)sum;
}

static size_t ip_header(const struct iphdr *ip) { return ip->ihl * 4u; }

/* The pseudo header of TCP and UDP (RFC 9293, section 3.1) for a payload, their own header included. */
static uint64_t pseudo_header(const struct iphdr *ip, size_t length) {
  return add(htons(ip->protocol) + htons((uint16_t)length), &ip->saddr, 8);
}

static void seal_ip(struct iphdr *ip) {
  ip->check = 0;
  ip->check = (uint16_t)~fold(add(0, ip, ip_header(ip)));
}

/* The whole IPv4 packet at the beginning of the bytes; 0 if there is none. */
static size_t packet_length(const struct iphdr *ip, size_t bytes) {
  if (bytes < sizeof *ip || ip->version != 4 || ip->ihl < 5) return 0;
  size_t length = ntohs(ip->tot_len);
  return length < ip_header(ip) || length > bytes ? 0 : length;
}

static bool is_fragment(const struct iphdr *ip) {
  return (ip->frag_off & htons(IP_MF | IP_OFFMASK)) != 0;
}

/* Bytes of the IP and the TCP or UDP header together; 0 where they are not whole, or for anything else. */
static size_t headers_length(const struct iphdr *ip, size_t length) {
  size_t begin = ip_header(ip), size = 0;
  if (ip->protocol == IPPROTO_UDP) size = sizeof(struct udphdr);
  if (ip->protocol == IPPROTO_TCP && begin + sizeof(struct tcphdr) <= length)
    size = ((const struct tcphdr *)((const uint8_t *)ip + begin))->doff * 4u;
  if (ip->protocol == IPPROTO_TCP && size < sizeof(struct tcphdr)) return 0;
  return size == 0 || begin + size > length ? 0 : begin + size;
}
