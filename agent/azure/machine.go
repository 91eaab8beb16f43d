package azure

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/ebbtide/ebbtide/agent/metadata"
)

// machineName is what machines can be called; Azure allows fewer characters, and
// forms of the name differ between kinds of scale set.
var machineName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

func checkMachine(name string) error {
	if !machineName.MatchString(name) {
		return fmt.Errorf("%q is not the name of a machine, such as %q", metadata.Excerpt([]byte(name)), "aks-pool-12345678-vmss_7")
	}
	return nil
}

// name is what events call this machine.
func (s *ScheduledEvents) name(ctx context.Context) (string, error) {
	s.mu.Lock()
	name := s.machine
	s.mu.Unlock()
	if name != "" {
		return name, nil
	}
	name, err := s.askName(ctx)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	s.machine = name // for good: a machine is never renamed
	s.mu.Unlock()
	return name, nil
}

// askName asks the metadata service for the name.
func (s *ScheduledEvents) askName(ctx context.Context) (string, error) {
	reply, err := s.client.Do(ctx, metadata.Request{Path: pathName, Query: queryName})
	if err != nil {
		return "", err
	}
	name := strings.TrimSpace(string(reply.Body))
	if err := checkMachine(name); err != nil {
		return "", reply.Unreadable("a machine's name", err)
	}
	return name, nil
}

// The two forms of a Node's providerID on Azure, from the resource group on.
var (
	scaleSetInstance = regexp.MustCompile(`(?i)/providers/Microsoft\.Compute/virtualMachineScaleSets/([^/]+)/virtualMachines/([^/]+)$`)
	singleMachine    = regexp.MustCompile(`(?i)/providers/Microsoft\.Compute/virtualMachines/([^/]+)$`)
)

// MachineName is what events call the machine of a Node with that providerID,
// empty if it is not one of Azure's: an instance of a scale set is named after both.
func MachineName(providerID string) string {
	if !strings.HasPrefix(providerID, "azure://") {
		return ""
	}
	if parts := scaleSetInstance.FindStringSubmatch(providerID); parts != nil {
		return parts[1] + "_" + parts[2]
	}
	if parts := singleMachine.FindStringSubmatch(providerID); parts != nil {
		return parts[1]
	}
	return ""
}
