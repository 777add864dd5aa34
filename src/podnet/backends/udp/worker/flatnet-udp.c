/*
 * Carries pods' packets between nodes in UDP, as flannel's udp backend does: what the kernel routes to a TUN device goes,
 * a packet a datagram, to the node behind it, and what comes from nodes goes to the kernel. For kernels and clouds on
 * which nothing better works. It outlives the agent that started it; the next one speaks to it over the same socket.
 *
 *   flatnet-udp DEVICE LOCAL-ADDRESS PORT CONTROL-SOCKET
 *
 * Returns when it is ready and works on in the background; 1 and a line on standard error when it cannot. The device is
 * made if need be and stays when the worker dies, with all routes, for the one that takes its place.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "packet.h"

#include "peers.h"

#include "outbound.h"

#include "inbound.h"

#include "control.h"

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif
/* Bytes; a burst of a few hundred packets of a hundred nodes. */
#define SOCKET_BUFFER (4 * 1024 * 1024)
#define CLIENTS_MAX 16

static void die(const char *doing, const char *what) {
  fprintf(stderr, "cannot %s %s: %s\n", doing, what, strerror(errno));
  exit(1);
}

static void open_tun(const char *name) {
  struct ifreq wish = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
  if (strlen(name) >= sizeof wish.ifr_name) {
    errno = ENAMETOOLONG;
    die("open device", name);
  }
  strcpy(wish.ifr_name, name);
  tun_fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (tun_fd < 0) die("open", "/dev/net/tun");
  if (ioctl(tun_fd, TUNSETIFF, &wish) < 0) die("open device", name);
  /* No IPv6: a large packet of it would be read here only to be dropped. */
  const unsigned tcp = TUN_F_CSUM | TUN_F_TSO4, udp = TUN_F_USO4 | TUN_F_USO6;
  tun_udp_gso = ioctl(tun_fd, TUNSETOFFLOAD, tcp | udp) == 0;
  if (!tun_udp_gso && ioctl(tun_fd, TUNSETOFFLOAD, tcp) < 0) die("set offloads of device", name);
  if (ioctl(tun_fd, TUNSETPERSIST, 1) < 0) die("keep device", name);
}

static void open_udp(void) {
  const int on = 1, size = SOCKET_BUFFER, never_fragment = IP_PMTUDISC_DO;
  /* Sending waits for the network card, which slows down those who send, as a router's queue does; not for ever. */
  const struct timeval patience = {.tv_usec = 100000};
  udp_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (udp_fd < 0) die("open", "a UDP socket");
  setsockopt(udp_fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
  setsockopt(udp_fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
  setsockopt(udp_fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  setsockopt(udp_fd, IPPROTO_UDP, UDP_GRO, &on, sizeof on); /* Linux 5.0; without, they come one by one */
  /* A packet that must not be fragmented learns from us, not by vanishing, that the way is too narrow. */
  setsockopt(udp_fd, IPPROTO_IP, IP_MTU_DISCOVER, &never_fragment, sizeof never_fragment);
  if (bind(udp_fd, (struct sockaddr *)&local, sizeof local) < 0) die("bind", "the UDP socket to its address and port");
  icmp_socket = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
  if (icmp_socket < 0) die("open", "a raw ICMP socket");
  /* It only sends: one byte of buffer keeps it from collecting every ICMP message of the node. */
  const int least = 1;
  setsockopt(icmp_socket, SOL_SOCKET, SO_RCVBUF, &least, sizeof least);
}

/* After the device, which nobody else can have at the same time: what is at the path is left from a worker that died. */
static int open_control(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) {
    errno = ENAMETOOLONG;
    die("listen on", path);
  }
  strcpy(address.sun_path, path);
  control_path = path;
  int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (listener < 0) die("open", "a unix socket");
  unlink(path);
  umask(0177);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, CLIENTS_MAX) < 0)
    die("listen on", path);
  return listener;
}

static void watch(int epoll, int fd) {
  struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) die("watch", "a descriptor");
}

static void go_to_background(void) {
  pid_t child = fork();
  if (child < 0) die("start", "the worker");
  if (child > 0) _exit(0);
  setsid();
  if (chdir("/") < 0) die("change to", "/");
  int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = 0; fd <= 2; fd++) dup2(nothing, fd);
  signal(SIGHUP, SIG_IGN);
}

/* Everything is open: whoever takes this process over by a packet gets the sockets, not the machine. */
static void drop_capabilities(void) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};
  if (syscall(SYS_capset, &header, none) < 0) die("drop", "capabilities");
}

static void work(int epoll, int listener) {
  int clients = 0;
  for (;;) {
    struct epoll_event events[CLIENTS_MAX + 3];
    int count = epoll_wait(epoll, events, CLIENTS_MAX + 3, -1);
    bool packets = false;
    for (int i = 0; i < count; i++) {
      int fd = events[i].data.fd;
      if (fd == tun_fd || fd == udp_fd) packets = true;
      else if (fd == listener) {
        int client = greet(listener);
        if (client < 0) continue;
        if (clients++ < CLIENTS_MAX) watch(epoll, client);
        else close(client), clients--;
      } else if (!serve(fd)) close(fd), clients--;
    }
    /* Without asking epoll for each batch, but not for ever: clients wait, too. */
    for (int round = 0; packets && round < 8; round++) {
      bool sent = tun_to_udp();
      packets = udp_to_tun() || sent;
    }
  }
}

int main(int count, char **arguments) {
  if (count != 5) {
    fputs("usage: flatnet-udp DEVICE LOCAL-ADDRESS PORT CONTROL-SOCKET\n", stderr);
    return 2;
  }
  const char *port = arguments[3];
  unsigned number;
  local.sin_family = AF_INET;
  if (inet_pton(AF_INET, arguments[2], &local.sin_addr) != 1 || !read_number(&port, 65535, '\0', &number) || number == 0) {
    fputs("flatnet-udp: LOCAL-ADDRESS is an IPv4 address, PORT a number from 1 to 65535\n", stderr);
    return 2;
  }
  local.sin_port = htons((uint16_t)number);
  open_tun(arguments[1]);
  open_udp();
  int listener = open_control(arguments[4]), epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) die("open", "epoll");
  watch(epoll, tun_fd);
  watch(epoll, udp_fd);
  watch(epoll, listener);
  go_to_background();
  drop_capabilities();
  work(epoll, listener);
}
