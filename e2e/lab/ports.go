package lab

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports come from below the ephemeral ranges of Linux (32768 and up) and macOS
// (49152 and up): the kernel never gives one of these to an outgoing connection
// while its component is down for a restart.
const (
	firstPort = 20000
	portCount = 10000
)

// freePorts finds n distinct loopback ports that nobody listens on at the moment.
// Another process may take one before we do; Start then tries again with others.
func freePorts(ctx context.Context, n int) ([]int, error) {
	var found []int
	var listen net.ListenConfig
	for _, offset := range rand.Perm(portCount) { //nolint:gosec // Random so that labs seldom meet, not to be secret.
		port := firstPort + offset
		listener, err := listen.Listen(ctx, "tcp", loopback(port))
		if err != nil {
			continue
		}
		if err := listener.Close(); err != nil {
			return nil, fmt.Errorf("closing port %d: %w", port, err)
		}
		if found = append(found, port); len(found) == n {
			return found, nil
		}
	}
	return nil, fmt.Errorf("finding %d free ports from %d to %d: only %d are free", n, firstPort, firstPort+portCount-1, len(found))
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
