"""Teams' code locations, one package each. A team never imports another: it names its views."""
