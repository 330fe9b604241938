(() => {
  const every = Number(document.documentElement.dataset.every) * 1000;
  const renew = async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const [x, y] = [scrollX, scrollY];
      document.querySelector("main").replaceWith(fresh.querySelector("main"));
      document.querySelector(".top").replaceWith(fresh.querySelector(".top"));
      document.title = fresh.title;
      scrollTo(x, y);
    } catch { /* the hub is away: the page stays as it is and asks again */ }
  };
  setInterval(renew, every);
  document.addEventListener("visibilitychange", renew);
})();
