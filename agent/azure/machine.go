package azure

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

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

// provenFor is how long the service is believed to be that of this machine. It bounds
// how long one that tells of other machines' events passes for calm.
const provenFor = 5 * time.Minute

// name is what events call this machine.
func (s *ScheduledEvents) name(ctx context.Context) (string, error) {
	s.mu.Lock()
	name := s.machine
	s.mu.Unlock()
	if name != "" {
		return name, nil
	}
	return s.identify(ctx)
}

// prove is nil if the service has lately told this machine's name. A list without an
// event of this machine means "none" only then: the service of another machine, which a
// proxy may lead to, has such a list for ever.
func (s *ScheduledEvents) prove(ctx context.Context) error {
	s.mu.Lock()
	proven := s.proven
	s.mu.Unlock()
	if time.Since(proven) < provenFor {
		return nil
	}
	_, err := s.identify(ctx)
	return err
}

// doubt ends the proof: after a fault, whoever answers next may be another.
func (s *ScheduledEvents) doubt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proven = time.Time{}
}

// identify asks the metadata service for the name. The first one holds for good: a
// machine is never renamed.
func (s *ScheduledEvents) identify(ctx context.Context) (string, error) {
	reply, err := s.client.Do(ctx, metadata.Request{Path: pathName, Query: queryName})
	if err != nil {
		return "", err
	}
	name := strings.TrimSpace(string(reply.Body))
	if err := checkMachine(name); err != nil {
		return "", reply.Unreadable("a machine's name", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.machine == "" {
		s.machine = name
	}
	if !strings.EqualFold(s.machine, name) {
		return "", reply.Unreadable("this machine's name", fmt.Errorf("want %q", s.machine))
	}
	s.proven = time.Now()
	return s.machine, nil
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
