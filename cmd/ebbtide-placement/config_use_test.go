package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"

	"github.com/ebbtide/ebbtide/cmd/internal/settings"
	"github.com/ebbtide/ebbtide/placement/webhook"
)

func TestTheAPIServerIsToldWhatTheCertificateNames(t *testing.T) {
	t.Parallel()
	service := func(c *Config) { c.Webhook.Service, c.Webhook.ServicePort = "hook", 8443 }
	url := func(url string) func(*Config) { return func(c *Config) { c.Webhook.URL = url } }
	cases := map[string]struct {
		set   func(*Config)
		names []string
		want  admissionregistrationv1.WebhookClientConfig
	}{
		"a Service": {
			set: service, names: []string{"hook.ebbtide.svc"},
			want: admissionregistrationv1.WebhookClientConfig{Service: &admissionregistrationv1.ServiceReference{
				Namespace: "ebbtide", Name: "hook", Path: new(webhook.Path), Port: new(int32(8443)),
			}},
		},
		"an address":         {set: url("https://192.0.2.7:10250"), names: []string{"192.0.2.7"}, want: called("https://192.0.2.7:10250/pods")},
		"an IPv6 address":    {set: url("https://[2001:db8::1]:1/"), names: []string{"2001:db8::1"}, want: called("https://[2001:db8::1]:1/pods")},
		"a name and no port": {set: url("https://h.example.com"), names: []string{"h.example.com"}, want: called("https://h.example.com/pods")},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := Default()
			config.Namespace, config.Instance = "ebbtide", "replica-1"
			c.set(&config)
			if err := config.Validate(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.names, config.Names()); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.want, config.Client()); diff != "" {
				t.Errorf("client (-want +got):\n%s", diff)
			}
		})
	}
}

func called(url string) admissionregistrationv1.WebhookClientConfig {
	return admissionregistrationv1.WebhookClientConfig{URL: &url}
}

func TestSpotLabelsOfTheUsersOwnMeanSpot(t *testing.T) {
	t.Parallel()
	karpenter := map[string]string{"karpenter.sh/capacity-type": "spot"}
	cases := map[string]struct {
		lifecycle Lifecycle
		labels    map[string]string
		want      bool
	}{
		"a label that is built in":       {Lifecycle{BuiltIn: true}, karpenter, true},
		"built in beside the user's own": {Lifecycle{BuiltIn: true, SpotLabels: []string{"dedicated=spot"}}, karpenter, true},
		"built in, and not asked for":    {Lifecycle{SpotLabels: []string{"dedicated=spot"}}, karpenter, false},
		"the user's own":                 {Lifecycle{BuiltIn: true, SpotLabels: []string{"dedicated=spot"}}, map[string]string{"dedicated": "spot"}, true},
		"the user's own, another value":  {Lifecycle{BuiltIn: true, SpotLabels: []string{"dedicated=spot"}}, map[string]string{"dedicated": "edge"}, false},
		"the second of two values":       {Lifecycle{SpotLabels: []string{"pool=a", "pool=b"}}, map[string]string{"pool": "b"}, true},
		"a label with any value":         {Lifecycle{SpotLabels: []string{"preemptible"}}, map[string]string{"preemptible": "x"}, true},
		"a label with no value only":     {Lifecycle{SpotLabels: []string{"preemptible="}}, map[string]string{"preemptible": "x"}, false},
		"a node without labels":          {Lifecycle{BuiltIn: true, SpotLabels: []string{"preemptible"}}, nil, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rules, err := Config{Lifecycle: c.lifecycle}.Rules()
			if err != nil {
				t.Fatal(err)
			}
			if got := rules.Spot(c.labels); got != c.want {
				t.Errorf("spot %t, want %t", got, c.want)
			}
		})
	}
}

func TestRulesThatMeanNothingAreAnError(t *testing.T) {
	t.Parallel()
	for _, lifecycle := range []Lifecycle{{}, {BuiltIn: true, SpotLabels: []string{"a b"}}, {BuiltIn: true, SpotLabels: []string{""}}} {
		if _, err := (Config{Lifecycle: lifecycle}).Rules(); err == nil {
			t.Errorf("%+v: no error", lifecycle)
		}
	}
}

func FuzzAConfigurationThatIsValidReadsBackAndCanBeUsed(f *testing.F) {
	f.Add([]byte(full.file()))
	f.Add([]byte("webhook: {url: 'https://h:1/'}\nnamespace: a\ninstance: b\n"))
	f.Add([]byte("lifecycle: {builtIn: false, spotLabels: [a=b=c, '=', &x b, *x]}\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		config := Default()
		config.Namespace, config.Instance = "ebbtide", "replica-1"
		if _, err := settings.Decode("file", content, config.fields()); err != nil {
			return
		}
		if err := config.Validate(); err != nil {
			mistakes, are := errors.AsType[settings.Errors](err)
			if !are || len(mistakes) == 0 || strings.ContainsAny(err.Error(), "\r\n") {
				t.Fatalf("not settings.Errors on one line: %q", err)
			}
			return
		}
		again := Default()
		if _, err := settings.Decode("again", []byte(config.file()), again.fields()); err != nil {
			t.Fatalf("reading back %q: %v", config.file(), err)
		}
		if diff := cmp.Diff(config, again); diff != "" {
			t.Errorf("(-first +again):\n%s", diff)
		}
		if _, err := config.Rules(); err != nil {
			t.Error(err)
		}
		if err := config.Periods().Validate(); err != nil {
			t.Error(err)
		}
		if names := config.Names(); len(names) != 1 || names[0] == "" {
			t.Errorf("names %q", names)
		}
	})
}
