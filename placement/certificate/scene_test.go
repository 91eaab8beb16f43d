package certificate

import (
	"crypto/x509"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/client-go/util/cert"
)

var noon = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

// scene is a replica in the middle of its life, an hour after all was started: what
// it serves is in the Secret, and verifies.
type scene struct {
	*testing.T
	rules rules
	view
	// labels are the names that the cases give to certificates.
	labels map[string]*x509.Certificate
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{T: t, rules: testRules, labels: map[string]*x509.Certificate{}}
	data, err := s.rules.write(Started, nil, contents{}, noon)
	s.must(err)
	s.data, s.now = data, noon.Add(time.Hour)
	held := readOwn(data, s.rules.names, s.now)
	s.serving = held.serving
	s.labels["ours"] = held.authority.Leaf
	s.labels["served"] = held.serving.Leaf
	s.publish("ours")
	s.seen = sights(nil).observe(s.live, held.bundle, noon)
	return s
}

func (s *scene) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// nameOf is the label of a certificate.
func (s *scene) nameOf(c *x509.Certificate) string {
	s.Helper()
	for label, labelled := range s.labels {
		if c.Equal(labelled) {
			return label
		}
	}
	s.Fatalf("nobody knows the certificate of %q", c.Subject)
	return ""
}

// certificateOf is that of the Secret under a key.
func (s *scene) certificateOf(key string) *x509.Certificate {
	s.Helper()
	all, err := cert.ParseCertsPEM(s.data[key])
	s.must(err)
	return all[0]
}

// publish makes every entry's caBundle hold the certificates with these labels.
func (s *scene) publish(labels ...string) {
	s.Helper()
	var bundle []*x509.Certificate
	for _, label := range labels {
		bundle = append(bundle, s.labels[label])
	}
	s.live = []entry{{name: "general", bundle: bundle}, {name: "system", bundle: bundle}}
}

// after writes a step to the Secret, as another replica might.
func (s *scene) after(change Change) {
	s.Helper()
	data, err := s.rules.write(change, s.data, readOwn(s.data, s.rules.names, s.now), s.now)
	s.must(err)
	s.data = data
	switch change {
	case Announced:
		s.labels["next"] = s.certificateOf(announcedCertKey)
	case Started:
		s.labels["next"] = s.certificateOf(authorityCertKey)
	case Renewed, Switched:
	}
	if change != Announced {
		s.labels["offered"] = s.certificateOf(servingCertKey)
	}
}

// stranger makes a CA that is none of ours.
func (s *scene) stranger() *x509.Certificate {
	s.Helper()
	ca, err := issue(&x509.Certificate{
		NotBefore: noon, NotAfter: noon.AddDate(10, 0, 0), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil)
	s.must(err)
	s.labels["stranger"] = ca.Leaf
	return ca.Leaf
}

// foreseen is a step in the words of the cases.
type foreseen struct {
	change  Change
	serves  string
	bundle  []string // published; nil: left as it is
	problem string   // a part of it; empty: none
}

func (s *scene) foresee() foreseen {
	s.Helper()
	step := s.rules.next(s.view)
	f := foreseen{change: step.change}
	if step.serve != nil {
		f.serves = s.nameOf(step.serve.Leaf)
	}
	for _, ca := range step.publish.bundle {
		f.bundle = append(f.bundle, s.nameOf(ca))
	}
	slices.Sort(f.bundle)
	if step.held.servingErr != nil {
		f.problem = step.held.servingErr.Error()
	}
	return f
}

// settle is a look at what is published, and another when it has settled.
func (s *scene) settle() {
	s.seen = s.rules.next(s.view).seen
	s.now = s.now.Add(s.rules.periods.Settle)
}

func (s *scene) compare(want foreseen) {
	s.Helper()
	got := s.foresee()
	if !strings.Contains(got.problem, want.problem) || (want.problem == "") != (got.problem == "") {
		s.Errorf("the Secret's problem is %q, want one with %q", got.problem, want.problem)
	}
	got.problem = want.problem
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(foreseen{}), cmpopts.EquateEmpty()); diff != "" {
		s.Errorf("the next step (-want +got):\n%s", diff)
	}
}
