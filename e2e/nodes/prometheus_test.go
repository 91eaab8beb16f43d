//go:build linux && e2e_nodes

package nodes_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/e2e/nodes"
	"github.com/ebbtide/ebbtide/e2e/nodes/machine"
)

// prometheus watches a cluster from a machine beside it, by what the chart renders for
// the Prometheus operator. The operator itself is not here, nor is the discovery of pods,
// which Debian builds its Prometheus without: this test does the work of both.
type prometheus struct {
	address netip.AddrPort
	began   time.Time
	every   time.Duration // from a scrape of the agents to the next
}

// podsFile has the targets. It is replaced as a whole, since Prometheus may read it at any
// time.
const podsFile = "pods.json"

// startPrometheus returns before anything has been scraped: wait for the series that are
// to be there.
func startPrometheus(t *testing.T, cluster *nodes.Cluster) *prometheus {
	t.Helper()
	monitors := render[monitor](t, cluster, "templates/podmonitor.yaml", "monitoring.podMonitor.enabled=true")
	rules := render[struct {
		Spec struct {
			Groups []any `json:"groups"`
		} `json:"spec"`
	}](t, cluster, "templates/prometheusrule.yaml", "monitoring.prometheusRule.enabled=true")
	if len(monitors) != 2 || len(rules) != 1 {
		t.Fatalf("the chart renders %d PodMonitors and %d PrometheusRules, want two and one", len(monitors), len(rules))
	}
	for _, m := range monitors {
		if len(m.Spec.Endpoints) != 1 {
			t.Fatalf("the PodMonitor %q has %d endpoints, want one", m.Metadata.Name, len(m.Spec.Endpoints))
		}
	}
	files := apiServerAccess(t, cluster)
	files["rules.yml"] = marshal(t, rules[0].Spec) // a file of Prometheus has what such a spec has
	server, err := url.Parse(cluster.Lab().Config().Host)
	must(t, err)
	files["prometheus.yml"] = marshal(t, prometheusConfig(monitors, server))
	files[podsFile] = []byte("[]")
	every, err := time.ParseDuration(monitors[0].Spec.Endpoints[0].Interval)
	must(t, err)
	p := &prometheus{began: time.Now(), every: every}
	m, err := cluster.StartMachine(within(t, time.Minute), "prometheus", []machine.Service{{
		Name: "prometheus",
		Args: []string{"prometheus", "--config.file=/srv/settings/prometheus.yml", "--storage.tsdb.path=/var/lib/prometheus"},
	}}, files)
	must(t, err)
	p.address = netip.AddrPortFrom(m.Address(), 9090)
	folder, err := m.Disk("/srv/settings")
	must(t, err)
	for _, check := range [][]string{{"config", "prometheus.yml"}, {"rules", "rules.yml"}} {
		if out, err := cluster.Run(t.Context(), "promtool", "check", check[0], filepath.Join(folder, check[1])); err != nil {
			t.Errorf("promtool check %s: %v\n%s", check[0], err, out)
		}
	}
	discover(t, cluster, filepath.Join(folder, podsFile))
	return p
}

// render returns what a template of the chart makes of values that are laid over those of
// the installation.
func render[T any](t *testing.T, cluster *nodes.Cluster, template string, values ...string) []T {
	t.Helper()
	args := append([]string{"template", release, chartFolder, "--show-only", template}, settings(values...)...)
	decoder := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(helm(t, cluster, args...)), 4096)
	var all []T
	for {
		var one T
		err := decoder.Decode(&one)
		if errors.Is(err, io.EOF) {
			return all
		}
		must(t, err)
		all = append(all, one)
	}
}

func marshal(t *testing.T, value any) []byte {
	t.Helper()
	text, err := yaml.Marshal(value)
	must(t, err)
	return text
}

// monitor is what is read of a PodMonitor.
type monitor struct {
	Metadata struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"metadata"`
	Spec struct {
		Selector struct {
			MatchLabels map[string]string `json:"matchLabels"`
		} `json:"selector"`
		Endpoints []struct {
			Port          string `json:"port"`
			Path          string `json:"path"`
			Interval      string `json:"interval"`
			ScrapeTimeout string `json:"scrapeTimeout"`
			Relabelings   []struct {
				SourceLabels []string `json:"sourceLabels"`
				TargetLabel  string   `json:"targetLabel"`
			} `json:"relabelings"`
		} `json:"podMetricsEndpoints"`
	} `json:"spec"`
}

// prometheusConfig has a Prometheus scrape what the monitors select, and the API server as
// kube-prometheus does it, and evaluate the rules as often as the last monitor scrapes.
func prometheusConfig(monitors []monitor, server *url.URL) map[string]any {
	jobs := []any{map[string]any{
		"job_name": "apiserver", "scheme": server.Scheme,
		"authorization":  map[string]any{"credentials_file": "token"},
		"tls_config":     map[string]any{"ca_file": "ca.crt"},
		"static_configs": []any{map[string]any{"targets": []string{server.Host}}},
		// Of thousands of series, those that a rule or a panel of the chart asks for.
		"metric_relabel_configs": []any{relabel("keep", "apiserver_admission_webhook_.+", "", "__name__")},
	}}
	every := ""
	for _, m := range monitors {
		endpoint := m.Spec.Endpoints[0]
		every = endpoint.Interval
		jobs = append(jobs, map[string]any{
			"job_name": m.Metadata.Namespace + "/" + m.Metadata.Name, "metrics_path": endpoint.Path,
			"scrape_interval": endpoint.Interval, "scrape_timeout": endpoint.ScrapeTimeout,
			"file_sd_configs": []any{map[string]any{"files": []string{podsFile}}},
			"relabel_configs": m.relabelings(),
		})
	}
	return map[string]any{
		"global":     map[string]any{"scrape_interval": every, "evaluation_interval": every},
		"rule_files": []string{"rules.yml"}, "scrape_configs": jobs,
	}
}

// relabelings choose among all ports of all pods, and give series the labels that the
// operator gives them.
func (m monitor) relabelings() []any {
	const meta = "__meta_kubernetes_pod_"
	endpoint := m.Spec.Endpoints[0]
	rules := []any{
		relabel("drop", "(Failed|Succeeded)", "", meta+"phase"),
		relabel("keep", regexp.QuoteMeta(m.Metadata.Namespace), "", "__meta_kubernetes_namespace"),
		relabel("keep", regexp.QuoteMeta(endpoint.Port), "", meta+"container_port_name"),
		relabel("replace", "(.*)", "namespace", "__meta_kubernetes_namespace"),
		relabel("replace", "(.*)", "pod", meta+"name"),
		relabel("replace", "(.*)", "container", meta+"container_name"),
		relabel("replace", "(.*)", "endpoint", meta+"container_port_name"),
	}
	for label, value := range m.Spec.Selector.MatchLabels {
		rules = append(rules, relabel("keep", regexp.QuoteMeta(value), "", meta+"label_"+labelName(label)))
	}
	for _, own := range endpoint.Relabelings {
		rules = append(rules, relabel("replace", "(.*)", own.TargetLabel, own.SourceLabels...))
	}
	return rules
}

func relabel(action, match, target string, sources ...string) map[string]any {
	rule := map[string]any{"action": action, "regex": match, "source_labels": sources}
	if target != "" {
		rule["target_label"] = target
	}
	return rule
}

var notInLabels = regexp.MustCompile("[^a-zA-Z0-9_]")

func labelName(name string) string { return notInLabels.ReplaceAllString(name, "_") }

// apiServerAccess is what kube-prometheus has for this, too: an account that may read
// metrics, and nothing else.
func apiServerAccess(t *testing.T, cluster *nodes.Cluster) map[string][]byte {
	t.Helper()
	path, err := cluster.Lab().ServiceAccount(t.Context(), "monitoring", "prometheus", []rbacv1.PolicyRule{
		{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}},
	})
	must(t, err)
	config, err := clientcmd.BuildConfigFromFlags("", path)
	must(t, err)
	token, err := os.ReadFile(config.BearerTokenFile)
	must(t, err)
	roots, err := os.ReadFile(config.CAFile)
	must(t, err)
	return map[string][]byte{"token": token, "ca.crt": roots}
}

// discover keeps the file of targets up to date until the test ends.
func discover(t *testing.T, cluster *nodes.Cluster, path string) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	var broken error
	go func() {
		ended <- cluster.Lab().WaitPods(ctx, "", "", func(pods []corev1.Pod) bool {
			broken = writeTargets(path, pods)
			return broken != nil // else it goes on with the next change
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("discovering pods: %v", errors.Join(err, broken))
		}
	})
}

type target struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// writeTargets writes every port of every pod with what Prometheus' own discovery would
// say of it.
func writeTargets(path string, pods []corev1.Pod) error {
	targets := []target{}
	for _, pod := range pods {
		for _, container := range pod.Spec.Containers {
			for _, port := range container.Ports {
				if pod.Status.PodIP == "" {
					continue
				}
				labels := map[string]string{
					"__meta_kubernetes_namespace":               pod.Namespace,
					"__meta_kubernetes_pod_name":                pod.Name,
					"__meta_kubernetes_pod_node_name":           pod.Spec.NodeName,
					"__meta_kubernetes_pod_phase":               string(pod.Status.Phase),
					"__meta_kubernetes_pod_container_name":      container.Name,
					"__meta_kubernetes_pod_container_port_name": port.Name,
				}
				for name, value := range pod.Labels {
					labels["__meta_kubernetes_pod_label_"+labelName(name)] = value
				}
				address := pod.Status.PodIP + ":" + strconv.Itoa(int(port.ContainerPort))
				targets = append(targets, target{[]string{address}, labels})
			}
		}
	}
	content, err := json.Marshal(targets)
	if err == nil {
		err = os.WriteFile(path+".new", content, 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("writing targets: %w", err)
	}
	return nil
}

// series is one of an answer: with Value for a moment, with Values for a range.
type series struct {
	Metric map[string]string `json:"metric"`
	Value  point             `json:"value"`
	Values []point           `json:"values"`
}

type point struct {
	at    time.Time
	value float64
}

// UnmarshalJSON reads [seconds, "value"]; the value may be NaN or infinite.
func (p *point) UnmarshalJSON(text []byte) error {
	var seconds float64
	var value string
	if err := json.Unmarshal(text, &[2]any{&seconds, &value}); err != nil {
		return err
	}
	p.at = time.UnixMilli(int64(math.Round(seconds * 1000)))
	var err error
	p.value, err = strconv.ParseFloat(value, 64)
	return err
}

// alert is one that is pending or firing.
type alert struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	State       string            `json:"state"`
	ActiveAt    time.Time         `json:"activeAt"`
}

func (p *prometheus) ask(ctx context.Context, path string, query url.Values, data any) error {
	body, err := get(ctx, fmt.Sprintf("http://%s/api/v1/%s?%s", p.address, path, query.Encode()))
	if err != nil {
		return fmt.Errorf("asking Prometheus for %q: %w: %s", path, err, body)
	}
	return json.Unmarshal([]byte(body), &struct {
		Data any `json:"data"`
	}{data})
}

// query asks for what is now.
func (p *prometheus) query(ctx context.Context, expr string) ([]series, error) {
	var data struct{ Result []series }
	err := p.ask(ctx, "query", url.Values{"query": {expr}}, &data)
	return data.Result, err
}

// since asks for what was from the start of Prometheus until now, at every step.
func (p *prometheus) since(ctx context.Context, expr string, step time.Duration) ([]series, error) {
	var data struct{ Result []series }
	err := p.ask(ctx, "query_range", url.Values{
		"query": {expr}, "step": {step.String()},
		"start": {p.began.Format(time.RFC3339)}, "end": {time.Now().Format(time.RFC3339)},
	}, &data)
	return data.Result, err
}

// value is the one value of a query; NaN if there is none, or Prometheus is not up yet.
func (p *prometheus) value(ctx context.Context, expr string) float64 {
	if all, err := p.query(ctx, expr); err == nil && len(all) == 1 {
		return all[0].Value.value
	}
	return math.NaN()
}

// alerts returns those that are pending or firing, by name.
func (p *prometheus) alerts(t *testing.T) map[string][]alert {
	t.Helper()
	var data struct{ Alerts []alert }
	must(t, p.ask(t.Context(), "alerts", nil, &data))
	byName := map[string][]alert{}
	for _, a := range data.Alerts {
		byName[a.Labels["alertname"]] = append(byName[a.Labels["alertname"]], a)
	}
	return byName
}

// firing returns the alerts of a name that are firing.
func (p *prometheus) firing(t *testing.T, name string) []alert {
	t.Helper()
	return slices.DeleteFunc(p.alerts(t)[name], func(a alert) bool { return a.State != "firing" })
}
