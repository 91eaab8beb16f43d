//go:build linux

package machine

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// setUpNetwork gives the machine its addresses and routes. It has no default route: what
// none of the routes leads to is refused by the machine's own kernel, and so nothing on
// it can ask the real cloud for anything.
func setUpNetwork(config Config, m *supervisor) error {
	commands := []string{
		"link set lo up",
		"addr add " + config.Address.String() + " dev eth0",
		"link set eth0 up",
	}
	if config.Metadata.IsValid() {
		// On the loopback device, which no neighbour sees: each machine has its own.
		commands = append(commands, "addr add "+config.Metadata.String()+"/32 dev lo")
	}
	for _, route := range config.Routes {
		commands = append(commands, "route add "+route.To.String()+" via "+route.Via.String())
	}
	for _, command := range commands {
		if err := m.run(append([]string{"ip"}, strings.Fields(command)...)); err != nil {
			return fmt.Errorf("setting up the network: %w", err)
		}
	}
	settings := map[string]string{
		"/proc/sys/net/ipv4/ip_forward": "1", // pods' packets
		// Two pods of one node meet on a bridge; without this, the reply of one that was
		// reached by its Service's address passes by the table that would translate it back.
		"/proc/sys/net/bridge/bridge-nf-call-iptables": "1",
	}
	for path, value := range settings {
		err := os.WriteFile(path, []byte(value), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) { // no such module, no such detour
			return fmt.Errorf("setting up the network: %w", err)
		}
	}
	return nil
}
