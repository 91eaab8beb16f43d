package azure_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/agent/azure"
	"github.com/ebbtide/ebbtide/agent/azure/azuretest"
	"github.com/ebbtide/ebbtide/agent/metadata"
	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
	"github.com/ebbtide/ebbtide/agent/sourcetest"
)

func TestAnEventIsOnlyAcknowledgedWhenItIsOurs(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		resources []string
		begun     bool
		id        string
		want      error
	}{
		"ours alone":                  {[]string{"vmss_7"}, false, "7", nil},
		"ours, in other letters":      {[]string{"VMSS_7"}, false, "7", nil},
		"ours and another's":          {[]string{"vmss_7", "vmss_8"}, false, "7", azure.ErrShared},
		"another's":                   {[]string{"vmss_8"}, false, "7", azure.ErrShared},
		"ours, and it has started":    {[]string{"vmss_7"}, true, "7", azure.ErrUnderWay},
		"one that is not on the list": {[]string{"vmss_7"}, false, "8", azure.ErrNotListed},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := azuretest.New(t, azuretest.Options{Machine: "vmss_7"})
			source := newSource(t, azure.Options{Endpoint: server.URL()})
			server.Schedule(azuretest.Event{ID: "7", Type: "Terminate", Resources: tc.resources})
			if tc.begun {
				server.Begin("7")
			}
			if err := source.Acknowledge(t.Context(), tc.id); !errors.Is(err, tc.want) {
				t.Errorf("Acknowledge: %v, want %v", err, tc.want)
			}
			var want []string
			if tc.want == nil {
				want = []string{"7"}
			}
			if diff := cmp.Diff(want, server.Requested()); diff != "" {
				t.Errorf("events asked to start (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnEventOfNoMachineIsNotAcknowledged(t *testing.T) {
	t.Parallel()
	server := azuretest.New(t, azuretest.Options{})
	source := newSource(t, azure.Options{Endpoint: server.URL()})
	server.Schedule(azuretest.Event{ID: "7", Type: "Freeze", Resources: []string{}})
	if err := source.Acknowledge(t.Context(), "7"); err == nil || len(server.Requested()) > 0 {
		t.Errorf("Acknowledge: %v, and the service was asked to start %v", err, server.Requested())
	}
}

func TestAnAcknowledgementThatIsNotTakenIsAnError(t *testing.T) {
	t.Parallel()
	for _, fault := range []metadatatest.Fault{
		azuretest.Updating, metadatatest.TooManyRequests, metadatatest.InternalError, metadatatest.ForeignJSON, metadatatest.ConnectionReset,
	} {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			server := azuretest.New(t, azuretest.Options{})
			source := newSource(t, azure.Options{Endpoint: server.URL()})
			server.Schedule(azuretest.Event{ID: "7", Type: "Preempt"})
			if err := server.SetFault(fault); err != nil {
				t.Fatal(err)
			}
			err := source.Acknowledge(t.Context(), "7")
			if _, read := errors.AsType[*metadata.ReadError](err); !read || !strings.Contains(err.Error(), `acknowledging event "7"`) {
				t.Errorf("Acknowledge: %v", err)
			}
			if requested := server.Requested(); len(requested) > 0 {
				t.Errorf("the service started %v", requested)
			}
		})
	}
}

func TestAnAcknowledgedEventHasStarted(t *testing.T) {
	t.Parallel()
	server := azuretest.New(t, azuretest.Options{})
	source := newSource(t, azure.Options{Endpoint: server.URL()})
	server.Schedule(azuretest.Event{ID: "7", Type: "Preempt"})
	if err := source.Acknowledge(t.Context(), "7"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"7 started"}, ids(sourcetest.Poll(t, source))); diff != "" {
		t.Errorf("sightings (-want +got):\n%s", diff)
	}
	if err := source.Acknowledge(t.Context(), "7"); !errors.Is(err, azure.ErrUnderWay) {
		t.Errorf("a second time: %v, want %v", err, azure.ErrUnderWay)
	}
}
