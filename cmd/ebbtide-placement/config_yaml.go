package main

import "github.com/ebbtide/ebbtide/cmd/internal/settings"

// Load reads the file at path over Default. What is wrong with the file comes back as
// settings.Errors, all of them at once, together with the Config as far as it could be
// read. It does not validate, and asks neither flags nor the environment.
func Load(path string) (Config, error) {
	config := Default()
	_, err := settings.Load(path, config.fields())
	return config, err
}

// file returns the configuration as a file that reads back as the same.
func (c Config) file() string { return settings.Encode(c, c.fields()) }

// fields maps the path of each field of the file to what reads it. A test holds it
// to the fields that Config has.
func (c *Config) fields() settings.Fields {
	return settings.Fields{
		"mode":                        settings.Text(&c.Mode),
		"namespace":                   settings.Text(&c.Namespace),
		"instance":                    settings.Text(&c.Instance),
		"webhook.listen":              settings.Text(&c.Webhook.Listen),
		"webhook.configuration":       settings.Text(&c.Webhook.Configuration),
		"webhook.service":             settings.Text(&c.Webhook.Service),
		"webhook.servicePort":         settings.Number(&c.Webhook.ServicePort),
		"webhook.url":                 settings.Text(&c.Webhook.URL),
		"webhook.linger":              settings.Duration(&c.Webhook.Linger),
		"admissionPolicy.name":        settings.Text(&c.AdmissionPolicy.Name),
		"admissionPolicy.image":       settings.Text(&c.AdmissionPolicy.Image),
		"certificate.mode":            settings.Text(&c.Certificate.Mode),
		"certificate.secret":          settings.Text(&c.Certificate.Secret),
		"certificate.authority":       settings.Duration(&c.Certificate.Authority),
		"certificate.rotateAuthority": settings.Duration(&c.Certificate.RotateAuthority),
		"certificate.serving":         settings.Duration(&c.Certificate.Serving),
		"certificate.rotateServing":   settings.Duration(&c.Certificate.RotateServing),
		"certificate.settle":          settings.Duration(&c.Certificate.Settle),
		"lifecycle.builtIn":           settings.Truth(&c.Lifecycle.BuiltIn),
		"lifecycle.spotLabels":        settings.Texts(&c.Lifecycle.SpotLabels),
		"audit.lease":                 settings.Text(&c.Audit.Lease),
		"audit.sweepAfter":            settings.Duration(&c.Audit.SweepAfter),
		"crds.upgrade":                settings.Truth(&c.CRDs.Upgrade),
		"listen":                      settings.Text(&c.Listen),
		"log.level":                   settings.Text(&c.Log.Level),
		"log.format":                  settings.Text(&c.Log.Format),
		"kubeconfig":                  settings.Text(&c.Kubeconfig),
	}
}
