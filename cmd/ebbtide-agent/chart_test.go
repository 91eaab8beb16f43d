package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/cmd/internal/chartvalues"
)

func TestTheChartsValuesAreTheAgentsDefaults(t *testing.T) {
	t.Parallel()
	var values Config // not Default(), so that a field that is left out is seen
	chartvalues.Read(t, "agent", values.fields(), "nodeName", "kubeconfig")
	if diff := cmp.Diff(Default(), values); diff != "" {
		t.Errorf("configuration (-default +values of the chart):\n%s", diff)
	}
}

func TestTheChartKnowsTheProvidersThatTheAgentKnows(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../charts/ebbtide/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Properties struct {
			Agent struct {
				Properties struct {
					Config struct {
						Properties struct{ Provider struct{ Enum []string } }
					}
				}
			}
		}
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Providers, schema.Properties.Agent.Properties.Config.Properties.Provider.Enum); diff != "" {
		t.Errorf("providers (-agent +schema of the chart):\n%s", diff)
	}
}

func TestTheChartHasTheFolderOfTheSocketForDrills(t *testing.T) {
	t.Parallel()
	template, err := os.ReadFile("../../charts/ebbtide/templates/agent-daemonset.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := "mountPath: " + filepath.Dir(Default().Drill.Socket) + "\n"
	if !strings.Contains(string(template), want) {
		t.Errorf("the agent's DaemonSet does not say %q", want)
	}
}
