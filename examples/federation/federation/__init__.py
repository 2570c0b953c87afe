"""Sites on several machines: a server, the app of a site, and the process of a site."""
