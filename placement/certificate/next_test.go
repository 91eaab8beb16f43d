package certificate

import (
	"bytes"
	"crypto/x509"
	"maps"
	"slices"
	"testing"
	"time"

	"k8s.io/client-go/util/cert"
)

func TestWhatHappensToOurOwnSecret(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		given func(s *scene)
		want  foreseen
	}{
		"all is well": {
			func(*scene) {}, foreseen{serves: "served"},
		},
		"a first start, with nothing anywhere": {
			func(s *scene) { s.data, s.serving, s.live = nil, nil, []entry{{name: "general"}} },
			foreseen{change: Started, problem: "empty"},
		},
		"a start with a Secret that was emptied, while a CA is published": {
			func(s *scene) { s.data, s.serving = nil, nil },
			foreseen{change: Announced, problem: "empty"},
		},
		"a Secret that is emptied while we run": {
			func(s *scene) { s.data = nil },
			foreseen{change: Announced, serves: "served", problem: "empty"},
		},
		"a Secret that is filled with garbage while we run": {
			func(s *scene) {
				s.data = maps.Clone(s.data)
				for key := range s.data {
					s.data[key] = []byte("garbage\n")
				}
			},
			foreseen{change: Announced, serves: "served", problem: "PEM"},
		},
		"a key that does not fit the serving certificate": {
			func(s *scene) { s.data[servingKeyKey] = s.data[authorityKeyKey] },
			foreseen{change: Renewed, serves: "served", problem: "does not match"},
		},
		"a key that does not fit the CA": {
			func(s *scene) { s.data[authorityKeyKey] = s.data[servingKeyKey] },
			foreseen{change: Announced, serves: "served"},
		},
		"a key that does not fit the CA, at a start": {
			func(s *scene) { s.data[authorityKeyKey], s.serving = s.data[servingKeyKey], nil },
			foreseen{change: Announced, serves: "served"},
		},
		"a serving certificate where the CA belongs": {
			func(s *scene) {
				s.data[authorityCertKey], s.data[authorityKeyKey] = s.data[servingCertKey], s.data[servingKeyKey]
			},
			foreseen{change: Announced, serves: "served", bundle: []string{"ours", "served"}},
		},
		"a serving certificate that expired while nobody ran": {
			func(s *scene) { s.now, s.serving = s.now.AddDate(0, 0, 20), nil },
			foreseen{change: Renewed, problem: "expired"},
		},
		"a CA that expired while nobody ran": {
			func(s *scene) { s.now, s.serving = s.now.AddDate(0, 0, 100), nil },
			foreseen{change: Started, problem: "expired"},
		},
		"a CA that expired, with another announced": {
			func(s *scene) {
				s.now = s.now.AddDate(0, 0, 61)
				s.after(Announced)
				s.publish("ours", "next")
				s.now, s.serving = s.now.AddDate(0, 0, 39), nil
			},
			foreseen{change: Switched, problem: "expired"},
		},
		"a serving certificate that is due": {
			func(s *scene) { s.now = s.now.AddDate(0, 0, 7) },
			foreseen{change: Renewed, serves: "served"},
		},
		"a serving certificate for other names": {
			func(s *scene) { s.rules.names = []string{"elsewhere.svc"} },
			foreseen{change: Renewed, serves: "served", problem: "elsewhere.svc"},
		},
		"a renewed certificate is served at once, for its CA is known": {
			func(s *scene) { s.after(Renewed) },
			foreseen{serves: "offered"},
		},
		"a CA that is due": {
			func(s *scene) { s.now = s.now.AddDate(0, 0, 60); s.after(Renewed) },
			foreseen{change: Announced, serves: "offered"},
		},
		"a CA that is announced is published": {
			func(s *scene) { s.after(Announced) },
			foreseen{serves: "served", bundle: []string{"next", "ours"}},
		},
		"a CA that is announced and has just been published": {
			func(s *scene) { s.after(Announced); s.publish("ours", "next") },
			foreseen{serves: "served"},
		},
		"a CA that every API server knows": {
			func(s *scene) { s.after(Announced); s.publish("ours", "next"); s.settle() },
			foreseen{change: Switched, serves: "served"},
		},
		"a CA that one entry lost in between": {
			func(s *scene) {
				s.after(Announced)
				s.publish("ours", "next")
				s.settle()
				s.publish("ours")
				s.settle()
				s.publish("ours", "next")
			},
			foreseen{serves: "served"},
		},
		"a certificate by a CA that has not settled": {
			func(s *scene) { s.after(Announced); s.after(Switched); s.publish("ours", "next") },
			foreseen{serves: "served"},
		},
		"a certificate by a CA that has": {
			func(s *scene) { s.after(Announced); s.after(Switched); s.publish("ours", "next"); s.settle() },
			foreseen{serves: "offered"},
		},
		"a certificate by a CA that has not settled, when there is no other": {
			func(s *scene) {
				s.after(Announced)
				s.after(Switched)
				s.publish("ours", "next")
				s.serving = nil
			},
			foreseen{serves: "offered"},
		},
		"a caBundle that was emptied by hand": {
			func(s *scene) { s.publish() },
			foreseen{serves: "served", bundle: []string{"ours"}},
		},
		"a caBundle that was emptied in one entry": {
			func(s *scene) { s.live[1].bundle = nil },
			foreseen{serves: "served", bundle: []string{"ours"}},
		},
		"a caBundle that holds garbage too": {
			func(s *scene) { s.live[0].garbage = true },
			foreseen{serves: "served", bundle: []string{"ours"}},
		},
		"a stranger's CA beside ours may be of use to somebody, for a while": {
			func(s *scene) { s.live[0].bundle = append(slices.Clone(s.live[0].bundle), s.stranger()) },
			foreseen{serves: "served"},
		},
		"a stranger's CA that nothing asks for": {
			func(s *scene) {
				s.live[0].bundle = append(slices.Clone(s.live[0].bundle), s.stranger())
				s.seen = s.rules.next(s.view).seen
				s.now = s.now.Add(s.rules.periods.linger())
			},
			foreseen{serves: "served", bundle: []string{"ours"}},
		},
		"a stranger's CA instead of ours": {
			func(s *scene) { s.live[0].bundle = []*x509.Certificate{s.stranger()} },
			foreseen{serves: "served", bundle: []string{"ours", "stranger"}},
		},
		"a configuration that is gone": {
			func(s *scene) { s.live = nil }, foreseen{serves: "served"},
		},
		"a clock that is just within tolerance behind the one that issued": {
			func(s *scene) { s.now, s.seen = noon.Add(-Tolerance), nil },
			foreseen{serves: "served"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			c.given(s)
			s.compare(c.want)
		})
	}
}

func TestWhatHappensToASecretThatIsGiven(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		given func(s *scene)
		want  foreseen
		// whenManaged is what differs with cert-manager; zero: nothing.
		whenManaged foreseen
	}{
		"all is well": {
			func(*scene) {}, foreseen{serves: "served"}, foreseen{serves: "served"},
		},
		"nothing was issued yet": {
			func(s *scene) { s.data, s.serving = nil, nil },
			foreseen{problem: "empty"},
			foreseen{problem: "empty"},
		},
		"a key that does not fit": {
			func(s *scene) { s.data[servingKeyKey], s.serving = s.data[authorityKeyKey], nil },
			foreseen{problem: "does not match"},
			foreseen{problem: "does not match"},
		},
		"an expired certificate": {
			func(s *scene) { s.now, s.serving = s.now.AddDate(0, 0, 20), nil },
			foreseen{problem: "expired"},
			foreseen{problem: "expired"},
		},
		"a ca.crt that did not sign it leaves what works alone": {
			func(s *scene) {
				encoded, err := cert.EncodeCertificates(s.stranger())
				s.must(err)
				s.data[authorityCertKey] = encoded
			},
			foreseen{serves: "served", problem: "unknown authority"},
			foreseen{serves: "served"},
		},
		"no ca.crt": {
			func(s *scene) { delete(s.data, authorityCertKey) },
			foreseen{serves: "served", problem: "there is none"},
			foreseen{serves: "served"},
		},
		"a certificate by another CA is served when its CA has settled": {
			func(s *scene) {
				ours := s.labels["ours"]
				s.data = map[string][]byte{}
				s.after(Started)
				s.live[0].bundle = []*x509.Certificate{ours}
				s.live[1].bundle = s.live[0].bundle
			},
			foreseen{serves: "served", bundle: []string{"next", "ours"}},
			foreseen{serves: "served"},
		},
		"a caBundle that somebody changed at once": {
			func(s *scene) {
				s.data = map[string][]byte{}
				s.after(Started)
				s.publish("next")
			},
			foreseen{serves: "offered"},
			foreseen{serves: "offered"},
		},
	}
	for name, c := range cases {
		for mode, want := range map[Mode]foreseen{Given: c.want, CertManager: c.whenManaged} {
			t.Run(name+", "+string(mode), func(t *testing.T) {
				t.Parallel()
				s := newScene(t)
				s.rules.mode = mode
				c.given(s)
				s.compare(want)
			})
		}
	}
}

// The keys of the Secret that are not ours are somebody's.
func TestAChangeKeepsTheOtherKeys(t *testing.T) {
	t.Parallel()
	for _, change := range Changes() {
		s := newScene(t)
		s.after(Announced)
		s.data["note"] = []byte("kept")
		before := maps.Clone(s.data)
		after, err := s.rules.write(change, s.data, readOwn(s.data, s.rules.names, s.now), s.now)
		s.must(err)
		if string(after["note"]) != "kept" {
			t.Errorf("%s drops another's key", change)
		}
		if !maps.EqualFunc(before, s.data, bytes.Equal) {
			t.Errorf("%s changes the data that it was given", change)
		}
	}
}

func TestASwitchKeepsTheOldCAUntilItHasExpired(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.after(Announced)
	s.after(Switched)
	old, next := s.labels["ours"], s.labels["next"]
	for at, want := range map[time.Time][]*x509.Certificate{
		s.now: {next, old},
		old.NotAfter.Add(Tolerance).Add(time.Second): {next},
	} {
		if got := readOwn(s.data, s.rules.names, at).bundle; !slices.EqualFunc(got, want, (*x509.Certificate).Equal) {
			t.Errorf("at %v, %d CAs are published, want %d", at, len(got), len(want))
		}
	}
}

func TestAServingCertificateDoesNotOutliveItsCA(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.now = s.labels["ours"].NotAfter.Add(-time.Hour)
	s.after(Renewed)
	if got, end := s.certificateOf(servingCertKey).NotAfter, s.labels["ours"].NotAfter; got.After(end) {
		t.Errorf("the certificate ends at %v, its CA at %v", got, end)
	}
}

func TestACABundleThatCannotBeReadIsGarbageAndAnEmptyOneIsNot(t *testing.T) {
	t.Parallel()
	for caBundle, want := range map[string]bool{
		"": false, " \n": false, "garbage": true,
		"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n": true,
	} {
		if got := readEntry("general", []byte(caBundle)); got.garbage != want || len(got.bundle) > 0 {
			t.Errorf("%q: garbage %t with %d CAs, want %t", caBundle, got.garbage, len(got.bundle), want)
		}
	}
}

func TestPeriodsThatLetSomethingExpireAreRefused(t *testing.T) {
	t.Parallel()
	if err := DefaultPeriods().Validate(); err != nil {
		t.Errorf("the default: %v", err)
	}
	for name, change := range map[string]func(p *Periods){
		"no time to settle":                         func(p *Periods) { p.Settle = 0 },
		"a serving certificate that is not renewed": func(p *Periods) { p.RotateServing = p.Serving },
		"a serving certificate renewed at once":     func(p *Periods) { p.RotateServing = 0 },
		"a CA replaced at once":                     func(p *Periods) { p.RotateAuthority = 0 },
		"a CA replaced too late":                    func(p *Periods) { p.RotateAuthority = p.Authority - p.Serving },
	} {
		p := DefaultPeriods()
		change(&p)
		if p.Validate() == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
