/*
 * From the nodes to the TUN device. Packets of one flow that follow each other are handed to the kernel as one, as a
 * network card's receive offload (GRO) does, if and only if cutting that one apart again gives the same packets.
 */
#pragma once
#include "packet.h"
#include <errno.h>
#include <linux/virtio_net.h>
#include <stddef.h>
#include <sys/uio.h>

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

#define DATAGRAMS 16
#define TRAIN_MAX 128

static int tun_fd, udp_fd;
/* TUN takes large UDP packets since Linux 6.2. */
static bool tun_udp_gso;

/* The packets that wait to become one. */
static struct {
  struct iovec pieces[1 + TRAIN_MAX];
  size_t packets;
  struct iphdr *ip; /* of the first */
  size_t headers, payload, length;
  bool verified, ended;
} train;

static struct {
  struct mmsghdr headers[DATAGRAMS];
  struct iovec pieces[DATAGRAMS];
  struct sockaddr_in from[DATAGRAMS];
  union {
    struct cmsghdr head;
    char bytes[CMSG_SPACE(sizeof(int))];
  } controls[DATAGRAMS];
  _Alignas(16) uint8_t data[DATAGRAMS][IP_MAX + 1];
} in;

static struct tcphdr *tcp_of(struct iphdr *ip) { return (struct tcphdr *)((uint8_t *)ip + ip_header(ip)); }
static struct udphdr *udp_of(struct iphdr *ip) { return (struct udphdr *)((uint8_t *)ip + ip_header(ip)); }

static void write_tun(struct virtio_net_hdr *offload, size_t pieces) {
  train.pieces[0] = (struct iovec){offload, sizeof *offload};
  while (writev(tun_fd, train.pieces, (int)pieces) < 0) {
    if (errno == EBADFD) exit(1);
    if (errno == EINTR) continue;
    stats.dropped++;
    return;
  }
}

static void flush_train(void) {
  if (train.packets == 0) return;
  struct virtio_net_hdr offload = {.gso_type = VIRTIO_NET_HDR_GSO_NONE};
  if (train.packets > 1) {
    struct iphdr *ip = train.ip;
    bool tcp = ip->protocol == IPPROTO_TCP;
    size_t begin = ip_header(ip);
    ip->tot_len = htons((uint16_t)train.length);
    seal_ip(ip);
    if (!tcp) udp_of(ip)->len = htons((uint16_t)(train.length - begin));
    /* All checksums are known to be right: the kernel makes new ones when it needs them, from this beginning. */
    uint16_t check = fold(pseudo_header(ip, train.length - begin));
    if (tcp) tcp_of(ip)->check = check;
    else udp_of(ip)->check = check;
    offload = (struct virtio_net_hdr){
        .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
        .gso_type = tcp ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_UDP_L4,
        .hdr_len = (uint16_t)train.headers,
        .gso_size = (uint16_t)train.payload,
        .csum_start = (uint16_t)begin,
        .csum_offset = tcp ? offsetof(struct tcphdr, check) : offsetof(struct udphdr, check),
    };
  }
  write_tun(&offload, 1 + train.packets);
  train.packets = 0;
}

/* Bytes of headers of a packet that may be part of a train; 0 for any other. */
static size_t may_join(struct iphdr *ip, size_t length) {
  if (ip->ihl != 5 || is_fragment(ip)) return 0;
  size_t headers = headers_length(ip, length);
  if (headers == 0 || headers == length) return 0;
  if (ip->protocol == IPPROTO_UDP)
    return tun_udp_gso && udp_of(ip)->check != 0 && ntohs(udp_of(ip)->len) == length - ip_header(ip) ? headers : 0;
  /* res2: the two flags of explicit congestion notification. */
  const struct tcphdr *tcp = tcp_of(ip);
  bool plain = tcp->ack && !(tcp->fin || tcp->syn || tcp->rst || tcp->urg || tcp->res2 != 0);
  return plain ? headers : 0;
}

static bool is_intact(const struct iphdr *ip, size_t length) {
  uint64_t sum = pseudo_header(ip, length - ip_header(ip));
  return fold(add(0, ip, ip_header(ip))) == 0xffff &&
         fold(add(sum, (const uint8_t *)ip + ip_header(ip), length - ip_header(ip))) == 0xffff;
}

/* As the kernel's tcp_gro_receive and inet_gro_receive ask. */
static bool follows(struct iphdr *ip, size_t length, size_t headers) {
  struct iphdr *first = train.ip;
  size_t payload = length - headers;
  if (train.packets == 0 || train.ended || train.packets == TRAIN_MAX || headers != train.headers) return false;
  if (payload > train.payload || train.length + payload > IP_MAX) return false;
  if (memcmp(&ip->saddr, &first->saddr, 8) != 0 || ip->protocol != first->protocol || ip->tos != first->tos ||
      ip->ttl != first->ttl || ip->frag_off != first->frag_off)
    return false;
  bool counted = ntohs(ip->id) == (uint16_t)(ntohs(first->id) + train.packets);
  if (!counted && !(ip->frag_off & htons(IP_DF))) return false;
  if (ip->protocol == IPPROTO_UDP) return memcmp(udp_of(ip), udp_of(first), 4) == 0;
  struct tcphdr *tcp = tcp_of(ip), *head = tcp_of(first);
  return tcp->source == head->source && tcp->dest == head->dest && tcp->ack_seq == head->ack_seq &&
         tcp->window == head->window &&
         ntohl(tcp->seq) == ntohl(head->seq) + (uint32_t)(train.length - train.headers) &&
         memcmp(tcp + 1, head + 1, headers - ip_header(ip) - sizeof *tcp) == 0;
}

static bool join(struct iphdr *ip, size_t length, size_t headers) {
  if (headers == 0 || !follows(ip, length, headers) || !is_intact(ip, length)) return false;
  if (!train.verified && !(train.verified = is_intact(train.ip, train.length))) return false;
  size_t payload = length - headers;
  train.pieces[1 + train.packets++] = (struct iovec){(uint8_t *)ip + headers, payload};
  train.length += payload;
  bool pushed = ip->protocol == IPPROTO_TCP && tcp_of(ip)->psh;
  if (pushed) tcp_of(train.ip)->psh = 1;
  train.ended = pushed || payload < train.payload;
  return true;
}

static void deliver(struct iphdr *ip, size_t bytes) {
  size_t length = packet_length(ip, bytes);
  if (length == 0) {
    stats.dropped++;
    return;
  }
  stats.rx_packets++;
  stats.rx_bytes += length;
  size_t headers = may_join(ip, length);
  if (join(ip, length, headers)) return;
  flush_train();
  train.pieces[1] = (struct iovec){ip, length};
  train.packets = 1;
  train.ip = ip;
  train.headers = headers;
  train.payload = length - headers;
  train.length = length;
  train.verified = false;
  train.ended = headers == 0 || (ip->protocol == IPPROTO_TCP && tcp_of(ip)->psh);
}

/* Datagrams of one sender come as one, and how long each was is told beside. */
static size_t datagram_size(struct msghdr *head, size_t bytes) {
  struct cmsghdr *told = CMSG_FIRSTHDR(head);
  int size = 0;
  if (told != NULL && told->cmsg_level == IPPROTO_UDP && told->cmsg_type == UDP_GRO)
    memcpy(&size, CMSG_DATA(told), sizeof size);
  return size > 0 ? (size_t)size : bytes;
}

/* Hands what has come from other nodes to the kernel. False when there was nothing. */
static bool udp_to_tun(void) {
  for (size_t i = 0; i < DATAGRAMS; i++) {
    in.pieces[i] = (struct iovec){in.data[i], IP_MAX};
    in.headers[i].msg_hdr = (struct msghdr){.msg_iov = &in.pieces[i],
                                            .msg_iovlen = 1,
                                            .msg_control = &in.controls[i],
                                            .msg_controllen = sizeof in.controls[i]};
  }
  int got = recvmmsg(udp_fd, in.headers, DATAGRAMS, MSG_DONTWAIT, NULL);
  for (int i = 0; i < got; i++) {
    size_t bytes = in.headers[i].msg_len, size = datagram_size(&in.headers[i].msg_hdr, bytes);
    for (size_t at = 0; at < bytes; at += size)
      deliver((struct iphdr *)(in.data[i] + at), bytes - at < size ? bytes - at : size);
  }
  flush_train();
  return got > 0;
}
