package lab_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

// podYAML is a bare pod that only the named node can take.
func podYAML(name, node string, annotations map[string]string) string {
	encoded, err := json.Marshal(annotations)
	if err != nil {
		panic(err) // strings always encode
	}
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s, labels: {app: %[1]s}, annotations: %s}
spec:
  nodeSelector: {kubernetes.io/hostname: %s}
  containers: [{name: main, image: none}]
`, name, encoded, node)
}

// runPod creates a pod on a node and returns it once it is Ready.
func runPod(t *testing.T, l *lab.Lab, namespace, name, node string, annotations map[string]string) corev1.Pod {
	t.Helper()
	must(t, l.Apply(t.Context(), namespace, podYAML(name, node, annotations)))
	var ready corev1.Pod
	must(t, l.WaitPods(within(t, time.Minute), namespace, "app="+name, func(pods []corev1.Pod) bool {
		if !lab.AllReady(1)(pods) {
			return false
		}
		ready = pods[0]
		return true
	}))
	return ready
}

// awaitRecord returns the record of a pod once it satisfies cond.
func awaitRecord(t *testing.T, l *lab.Lab, namespace, name string, cond func(lab.PodRecord) bool) lab.PodRecord {
	t.Helper()
	last := lab.PodRecord{}
	for record := range l.Watch(within(t, time.Minute)) {
		if record.Namespace == namespace && record.Name == name {
			if last = record; cond(record) {
				return record
			}
		}
	}
	t.Fatalf("waiting for the record of pod %q: the last one is %+v", name, last)
	return last
}

func ended(r lab.PodRecord) bool { return r.End != lab.Running }

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func contains(text, part string) bool { return strings.Contains(text, part) }
