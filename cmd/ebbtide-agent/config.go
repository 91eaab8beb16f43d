package main

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/ebbtide/ebbtide/agent/aws"
	"github.com/ebbtide/ebbtide/drain"
)

// Config is everything that can be said to the agent. The file is YAML with these
// fields and no others; what it leaves out keeps the value of Default.
type Config struct {
	// NodeName is the node that the agent looks after. It has no default.
	NodeName string `yaml:"nodeName"`
	// Provider is the cloud that the node runs in; one of Providers.
	Provider string `yaml:"provider"`
	AWS      AWS    `yaml:"aws"`
	Drain    Drain  `yaml:"drain"`
	// Listen is the address for metrics and health. Port 0 means any free port;
	// the agent's first log line says which.
	Listen string `yaml:"listen"`
	Log    Log    `yaml:"log"`
	// Kubeconfig is a file that says how to reach the API server; empty means the
	// service account of the pod that the agent runs in.
	Kubeconfig string `yaml:"kubeconfig"`
	// DryRun makes the agent say what it would do, and do nothing. It is a flag
	// only: a file that is left behind must not disarm a fleet.
	DryRun bool `yaml:"-"`

	places places
}

// AWS says how to ask the EC2 metadata service.
type AWS struct {
	// Endpoint is its address; empty means the one that EC2 documents.
	Endpoint string `yaml:"endpoint"`
	// AllowIMDSv1 lets the agent ask without a session token where the metadata
	// service gives none. Off, because anything on the node can forge such a call.
	AllowIMDSv1 bool `yaml:"allowIMDSv1"`
	// PollInterval is the time between two questions.
	PollInterval time.Duration `yaml:"pollInterval"`
}

// Drain says how the node is emptied.
type Drain struct {
	// DaemonSets moves the pods of DaemonSets too, as the last group. Off, because
	// the node's own network and logs are usually among them.
	DaemonSets bool `yaml:"daemonSets"`
	// VolumeDetach is kept free, after the end of a pod with volumes, for their
	// detaching.
	VolumeDetach time.Duration `yaml:"volumeDetach"`
	// Concurrency is how many pods may be asked to leave at the same time, over all
	// disruption budgets; how many of one budget adapts by itself.
	Concurrency int `yaml:"concurrency"`
	// HandOver says when a pod of a Deployment is replaced before it goes: one of
	// HandOvers. A pod's own annotation ebbtide.dev/hand-over overrides it.
	HandOver string `yaml:"handOver"`
}

// Log says how the agent logs.
type Log struct {
	// Level is one of LogLevels, Format one of LogFormats.
	Level  string `yaml:"level"`
	Format string `yaml:"format"`
}

// The values that a field with a closed set may have.
var (
	Providers  = []string{"aws"}
	LogLevels  = []string{"debug", "info", "warn", "error"}
	LogFormats = []string{"json", "text"}
	HandOvers  = []string{
		string(drain.HandOverWhenBlocked), string(drain.HandOverAlways), string(drain.HandOverNever),
	}
)

// The bounds of the fields that have some.
const (
	// Every program on the node shares the metadata service, and EC2 throttles the
	// instance as a whole: once a second is enough, and tokens come on top. Every five
	// seconds is what its guide advises at least.
	minPollInterval = time.Second
	maxPollInterval = 5 * time.Second
	// Half of a spot notice.
	maxVolumeDetach = time.Minute
	// More than the pods that a kubelet takes by default is a slip of the pen.
	maxConcurrency = 100
)

// Default returns the configuration of an empty file.
func Default() Config {
	return Config{
		Provider: "aws",
		AWS:      AWS{PollInterval: time.Second},
		Drain:    Drain{VolumeDetach: 12 * time.Second, Concurrency: 64, HandOver: string(drain.HandOverWhenBlocked)},
		Listen:   ":9808",
		Log:      Log{Level: "info", Format: "json"},
	}
}

// Validate returns every value that the agent cannot work with as ConfigErrors, and nil
// if there is none. It looks at the values alone: no file is opened, nothing is asked.
func (c Config) Validate() error {
	var found ConfigErrors
	check := func(field, problem string) {
		if problem != "" {
			found = append(found, Mistake{Place: c.places[field], Field: field, Problem: problem})
		}
	}
	check("nodeName", nodeNameProblem(c.NodeName))
	check("provider", choiceProblem(c.Provider, Providers))
	check("aws.endpoint", endpointProblem(c.AWS.Endpoint))
	check("aws.pollInterval", rangeProblem(c.AWS.PollInterval, minPollInterval, maxPollInterval))
	check("drain.volumeDetach", rangeProblem(c.Drain.VolumeDetach, 0, maxVolumeDetach))
	check("drain.handOver", choiceProblem(c.Drain.HandOver, HandOvers))
	check("drain.concurrency", rangeProblem(c.Drain.Concurrency, 1, maxConcurrency))
	check("listen", listenProblem(c.Listen))
	check("log.level", choiceProblem(c.Log.Level, LogLevels))
	check("log.format", choiceProblem(c.Log.Format, LogFormats))
	return found.orNil()
}

// Mistake is one thing in the configuration that cannot be.
type Mistake struct {
	// Place is where it stands ("agent.yaml:3", "--listen", "$NODE_NAME"); empty
	// when it stands nowhere, such as a name that is missing.
	Place string
	// Field is the path of the field ("drain.volumeDetach"); empty when the mistake
	// belongs to none.
	Field string
	// Problem says what is wrong, on one line.
	Problem string
}

// String returns the mistake on one line.
func (m Mistake) String() string {
	parts := slices.DeleteFunc([]string{m.Place, m.Field, m.Problem}, func(part string) bool { return part == "" })
	return strings.Join(parts, ": ")
}

// ConfigErrors is all that is wrong with a configuration, as one error.
type ConfigErrors []Mistake

// Error returns all mistakes on one line.
func (m ConfigErrors) Error() string {
	lines := make([]string, len(m))
	for i, mistake := range m {
		lines[i] = mistake.String()
	}
	return strings.Join(lines, "; ")
}

// about says whether one of the mistakes is about field: what could not be read was
// not left out as well.
func (m ConfigErrors) about(field string) bool {
	return slices.ContainsFunc(m, func(mistake Mistake) bool { return mistake.Field == field })
}

func (m ConfigErrors) orNil() error {
	if len(m) == 0 {
		return nil
	}
	return m
}

// places says of each field that was set where that was, for the mistakes.
type places map[string]string

// with returns the places after field was set at place. The map of a Config that was
// copied before stays as it was.
func (p places) with(field, place string) places {
	next := maps.Clone(p)
	if next == nil {
		next = places{}
	}
	next[field] = place
	return next
}

func nodeNameProblem(name string) string {
	if name == "" {
		return "is missing: set --node-name, or $NODE_NAME from the field spec.nodeName of the pod"
	}
	if len(validation.IsDNS1123Subdomain(name)) > 0 {
		return fmt.Sprintf("%q is not a node name: lower-case letters, digits, '-' and '.'", name)
	}
	return ""
}

func choiceProblem(value string, choices []string) string {
	if slices.Contains(choices, value) {
		return ""
	}
	if len(choices) == 1 {
		return fmt.Sprintf("%q is not %s, the only choice yet", value, choices[0])
	}
	return fmt.Sprintf("%q is not one of %s", value, strings.Join(choices, ", "))
}

func rangeProblem[T int | time.Duration](value, least, most T) string {
	if least <= value && value <= most {
		return ""
	}
	return fmt.Sprintf("%v is not between %v and %v", value, least, most)
}

func endpointProblem(endpoint string) string {
	if endpoint == "" {
		return ""
	}
	if err := aws.CheckEndpoint(endpoint); err != nil {
		return err.Error()
	}
	return ""
}

func listenProblem(address string) string {
	_, port, err := net.SplitHostPort(address)
	if err != nil || !isPort(port) {
		return fmt.Sprintf("%q is not an address to listen on, such as :9808 or 127.0.0.1:9808", address)
	}
	return ""
}

func isPort(text string) bool {
	_, err := strconv.ParseUint(text, 10, 16)
	return err == nil
}
